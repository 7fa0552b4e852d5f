"""ModelCard: all that a model has to know to be asked with entity keys; it lies inside the model's own file."""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from tiffin.errors import CorruptData, InvalidArgument
from tiffin.refs import FeatureRef
from tiffin.types import ValueType

Missing = Literal["impute", "refuse"]

#: It becomes a part of paths and of URLs.
_NAME: Final = re.compile(r"\w[\w.-]*")


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a model was trained on, and how it is asked.

    ``features`` are references, ``table:feature`` or ``project/table:feature``, in the order of the model's input;
    ``entities`` the names of the keys with the names of their value types; ``target`` the column that was learned.
    ``classes`` are the words for scores below ``threshold`` and from it on. Where a feature is missing or expired its
    value of ``imputed`` is taken, or the row is refused, as ``missing`` says. ``dataset`` is the hash of the rows that
    the model learned, and nothing here depends on when or where that was: the same run gives the same bytes.
    """

    name: str
    project: str
    features: tuple[str, ...]
    entities: dict[str, str]
    target: str
    classes: tuple[str, str] = ("0", "1")
    threshold: float = 0.5
    missing: Missing = "impute"
    imputed: tuple[float, ...]
    dataset: str = ""
    rows: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidArgument(
                f"{self.name!r} is no name of a model.",
                field="name",
                hint="Use letters, digits, dashes, dots and underscores, the first no dot.",
            )
        unknown = [kind for kind in self.entities.values() if kind not in ValueType.__members__]
        if unknown or not self.entities:
            raise InvalidArgument(
                f"The keys of the model {self.name!r} are {self.entities}.",
                field="entities",
                hint="Name its keys, each with a value type such as INT64.",
            )
        if not self.features:
            raise InvalidArgument("A model needs at least one feature.", field="features", hint="Name some.")
        if len(self.imputed) != len(self.features):
            raise InvalidArgument(
                f"A model of {len(self.features)} features has {len(self.imputed)} values for missing ones.",
                field="imputed",
                hint="Give one value a feature, in the same order.",
            )
        if not 0 <= self.threshold <= 1:
            raise InvalidArgument(
                f"A threshold is a probability, got {self.threshold}.", field="threshold", hint="Give 0 to 1."
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names that the features have in training sets, such as ``table__feature``, in the same order."""
        return tuple(FeatureRef.from_str(reference).column for reference in self.features)

    def encode(self) -> str:
        """The card as JSON: equal cards give equal text."""
        return msgspec.json.encode(self, order="deterministic").decode()

    @staticmethod
    def decode(text: str, *, place: str) -> ModelCard:
        """The card of a file; CorruptData where the text is none, naming ``place``."""
        try:
            return msgspec.json.decode(text, type=ModelCard)
        except (msgspec.DecodeError, InvalidArgument) as error:
            raise CorruptData(
                f"The model at {place!r} has a card that cannot be read: {error}.",
                hint="Train it again, with this version of Tiffin.",
            ) from error

    def replace(self, **changes: Any) -> ModelCard:
        """The card with some of it changed."""
        return msgspec.structs.replace(self, **changes)
