"""Predictor: entity keys, or features themselves, to predictions.

What is read online goes through the same matrix and the same network as what the model was trained on, with nothing
computed anew in between: the scaler, the order of features and the threshold are the model's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import compress
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from tiffin.errors import InvalidArgument, InvalidData
from tiffin.online.read import NOW_FIELD, Columns, OnlineColumns, Status
from tiffin.pipeline.model import Model

Instance = Mapping[str, Any] | Sequence[Any]
Read = Callable[[Columns], Awaitable[OnlineColumns]]

#: Rows whose missing features are named in a refusal.
_SHOWN: Final = 5


class MissingFeatures(InvalidData):
    """Features that a model needs are missing or expired, and the model says that it does not guess."""

    code = "missing_features"


class Predictions(NamedTuple):
    """One item an instance: its score (float32) and its class; and a column for each feature, in the model's order.

    ``values``, of shape (instances, features), are as they were read or given, NaN where there was none, before
    anything is imputed; ``statuses`` and ``keys`` have columns, of which some may be one shared object.
    """

    scores: np.ndarray
    classes: list[str]
    values: np.ndarray
    statuses: Sequence[Sequence[str]]
    keys: Mapping[str, Sequence[Any]]

    def imputed(self, features: Sequence[str]) -> list[list[str]]:
        """For each instance the features whose value was guessed."""
        missing = np.isnan(self.values)
        if not missing.any():
            return [[]] * len(missing)
        return [list(compress(features, row)) for row in missing.tolist()]


class Predictor:
    """One model, and where the features of its keys are read."""

    def __init__(self, model: Model, read: Read) -> None:
        self.model = model
        self._read = read
        card = model.card
        #: Every name under which a feature may be given, with its place in a row.
        self._places = {name: place for place, name in enumerate(card.features)}
        self._places |= {name: place for place, name in enumerate(card.columns)}
        self._keys = tuple(card.entities)

    async def predict(self, instances: Sequence[Instance]) -> Predictions:
        """Predict for instances, in their order.

        An instance is ``{"driver_id": 1001}``, whose features are read, as of now or of its ``event_timestamp``; or the
        features themselves, by name, absent ones missing, or as a list in the model's order, null where there is none.
        InvalidArgument for one that is neither, MissingFeatures where the model does not guess; errors of reading are
        handed on.
        """
        keys: Mapping[str, Sequence[Any]]
        statuses: Sequence[Sequence[str]]
        asked = _columns(instances, self._keys)
        if asked is None:
            keys, values, statuses = await self._mixed(instances)
        else:
            found = await self._read(asked)
            keys, values, statuses = found.entities, _matrix(found), found.statuses
        if self.model.card.missing == "refuse":
            self._refuse_missing(values, statuses)
        scores = self.model.scores(values)
        return Predictions(scores, self.model.classes(scores), values, statuses, keys)

    async def _mixed(self, instances: Sequence[Instance]) -> tuple[dict[str, list[Any]], np.ndarray, list[list[str]]]:
        """Keys, values and statuses of instances of which some, or all, are features."""
        width = len(self.model.card.features)
        values = np.full((len(instances), width), np.nan)
        statuses: list[list[Any]] = [[""] * len(instances) for _ in range(width)]
        keys: dict[str, list[Any]] = {name: [None] * len(instances) for name in self._keys}
        by_key: list[int] = []
        for number, instance in enumerate(instances):
            if self._by_key(number, instance):
                by_key.append(number)
                continue
            row = self._given(number, instance)
            values[number] = row
            for column, is_missing in zip(statuses, np.isnan(row).tolist(), strict=True):
                column[number] = Status.NULL_VALUE if is_missing else Status.PRESENT
        asked = _columns([instances[number] for number in by_key], self._keys) if by_key else None
        if asked is not None:
            found = await self._read(asked)
            values[by_key] = _matrix(found)
            into: list[list[Any]] = [*statuses, *(keys[name] for name in found.entities)]
            for target, source in zip(into, [*found.statuses, *found.entities.values()], strict=True):
                for number, item in zip(by_key, source, strict=True):
                    target[number] = item
        return keys, values, statuses

    def _by_key(self, number: int, instance: Instance) -> bool:
        """Whether an instance names keys, rather than features; InvalidArgument where it names neither."""
        if isinstance(instance, Sequence) and not isinstance(instance, str | bytes):
            return False
        if isinstance(instance, Mapping):
            if all(name in instance for name in self._keys):
                return True
            if any(name in self._places for name in instance) and not any(name in instance for name in self._keys):
                return False
        raise InvalidArgument(
            f"Instance {number} is neither the keys of the model {self.model.card.name!r} nor its features: "
            f"{_short(instance)}.",
            field="instances",
            hint=f"Give {', '.join(self._keys)}; or features: {', '.join(self.model.card.features)}.",
        )

    def _given(self, number: int, instance: Instance) -> np.ndarray:
        """The row of an instance that gives its features."""
        features = self.model.card.features
        given: list[Any] = [None] * len(features)
        if isinstance(instance, Mapping):
            for name, value in instance.items():
                if name not in self._places:
                    raise InvalidArgument(
                        f"Instance {number} has {name!r}, which is no feature of the model.",
                        field="instances",
                        hint=f"Its features: {', '.join(features)}.",
                    )
                given[self._places[name]] = value
        elif len(instance) != len(features):
            raise InvalidArgument(
                f"Instance {number} has {len(instance)} values, the model takes {len(features)}.",
                field="instances",
                hint=f"In this order: {', '.join(features)}.",
            )
        else:
            given = list(instance)
        return np.array([_number(value, number, features[place]) for place, value in enumerate(given)])

    def _refuse_missing(self, values: np.ndarray, statuses: Sequence[Sequence[str]]) -> None:
        rows = np.flatnonzero(np.isnan(values).any(axis=1))
        if not len(rows):
            return
        features = self.model.card.features
        told = "; ".join(
            f"instance {row}: "
            + ", ".join(
                f"{features[place]} is {statuses[place][row]}"
                for place in np.flatnonzero(np.isnan(values[row])).tolist()
            )
            for row in rows[:_SHOWN].tolist()
        )
        raise MissingFeatures(
            f"The model {self.model.card.name!r} does not guess, and {len(rows)} of {len(values)} instances lack "
            f"features: {told}{' ...' if len(rows) > _SHOWN else ''}.",
            field="instances",
            hint="Leave them out, fill the online store, or train the model with --missing impute.",
        )


def _matrix(found: OnlineColumns) -> np.ndarray:
    """Values as the model takes them, a row an instance: None is NaN. Their types were found to be numbers."""
    return np.array(found.values, dtype=np.float64).reshape(len(found.values), found.rows).T


def _columns(instances: Sequence[Instance], names: Sequence[str]) -> dict[str, list[Any]] | None:
    """The keys of instances as columns, with their instants if any has one; None where not all are keys."""
    if set(map(type, instances)) != {dict}:
        return None
    rows: Sequence[dict[str, Any]] = instances  # type: ignore[assignment]  # as was just seen
    try:
        columns = {name: [row[name] for row in rows] for name in names}
    except KeyError:
        return None
    if any(NOW_FIELD in row for row in rows):
        columns[NOW_FIELD] = [row.get(NOW_FIELD) for row in rows]
    return columns


def _number(value: Any, number: int, feature: str) -> float:
    """A given feature as float64, NaN for null; a text is no number, and neither is what float64 cannot hold."""
    if value is None:
        return np.nan
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            value = _short(value)
    raise InvalidArgument(
        f"Instance {number} gives {_short(value)} for {feature!r}: a feature is a number, true, false or null.",
        field="instances",
        hint="Send it as a number.",
    )


def _short(value: Any) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, msgspec.MsgspecError):
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
