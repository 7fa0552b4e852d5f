"""Dataset: what one step hands to the next as training and validation rows, with the words that explain them."""

from __future__ import annotations

import io
from typing import Final, NamedTuple

import msgspec
import polars as pl

from tiffin.errors import CorruptData
from tiffin.pipeline import files
from tiffin.refs import FeatureRef

TRAINING_FILE: Final = "training.parquet"
VALIDATION_FILE: Final = "validation.parquet"
ABOUT_FILE: Final = "dataset.json"


class About(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What the rows of a dataset are.

    ``features`` are references in the order of the request, ``target`` excluded; ``entities`` the names of the keys
    with the names of their value types; ``event`` the column of instants. ``split`` is "share" or "time", ``dropped``
    counts rows without a target, and ``hash`` is that of all rows, in their order.
    """

    project: str
    features: tuple[str, ...]
    entities: dict[str, str]
    target: str
    event: str
    split: str
    size: float
    seed: int = 0
    dropped: int = 0
    hash: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The features' columns, in their order."""
        return tuple(FeatureRef.from_str(reference).column for reference in self.features)


class Dataset(NamedTuple):
    """Rows as the point-in-time join gave them: keys, instants, features and the target, with their own types."""

    about: About
    training: pl.DataFrame
    validation: pl.DataFrame

    def save(self, folder: str) -> None:
        """Write the three files of a dataset into a folder, on a disk or bucket; the description last."""
        for name, frame in ((TRAINING_FILE, self.training), (VALIDATION_FILE, self.validation)):
            buffer = io.BytesIO()
            frame.write_parquet(buffer)
            files.write(files.join(folder, name), buffer.getvalue())
        files.write(files.join(folder, ABOUT_FILE), msgspec.json.format(msgspec.json.encode(self.about), indent=2))

    @staticmethod
    def load(folder: str, *, learned_only: bool = False) -> Dataset:
        """The dataset in a folder; NotFound where there is none, CorruptData where its files are no such.

        ``learned_only`` leaves out keys, instants and whatever else a model does not learn from.
        """
        content = files.read(files.join(folder, ABOUT_FILE))
        try:
            about = msgspec.json.decode(content, type=About)
            columns = [*about.columns, about.target] if learned_only else None
            training, validation = (
                pl.read_parquet(io.BytesIO(files.read(files.join(folder, name))), columns=columns)
                for name in (TRAINING_FILE, VALIDATION_FILE)
            )
        except (msgspec.DecodeError, pl.exceptions.ComputeError, pl.exceptions.ColumnNotFoundError) as error:
            raise CorruptData(
                f"The dataset at {folder!r} cannot be read: {error}.", hint="Retrieve it again."
            ) from error
        return Dataset(about, training, validation)
