"""Predictor: entity keys, or features themselves, to predictions.

What is read online goes through the same matrix and the same network as what the model was trained on, with nothing
computed anew in between: the scaler, the order of features and the threshold are the model's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from tiffin.errors import InvalidArgument, InvalidData
from tiffin.online.read import NOW_FIELD, Status
from tiffin.online.response import OnlineResponse
from tiffin.pipeline.model import Model

Instance = Mapping[str, Any] | Sequence[Any]
Read = Callable[[list[dict[str, Any]]], Awaitable[OnlineResponse]]

#: Rows whose missing features are named in a refusal.
_SHOWN: Final = 5


class MissingFeatures(InvalidData):
    """Features that a model needs are missing or expired, and the model says that it does not guess."""

    code = "missing_features"


class Predictions(NamedTuple):
    """One item an instance: its score (float32), its class, and the status of each feature in the model's order.

    ``values`` are the features as they were read or given, NaN where there was none, before anything is imputed.
    """

    scores: np.ndarray
    classes: list[str]
    values: np.ndarray
    statuses: list[list[str]]
    keys: list[dict[str, Any]]

    def imputed(self, features: Sequence[str]) -> list[list[str]]:
        """For each instance the features whose value was guessed."""
        return [
            [name for name, is_missing in zip(features, row, strict=True) if is_missing]
            for row in np.isnan(self.values)
        ]


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
        kinds = [self._by_key(number, instance) for number, instance in enumerate(instances)]
        values = np.full((len(instances), len(self.model.card.features)), np.nan)
        statuses = [[""] * values.shape[1] for _ in instances]
        asked = [number for number, by_key in enumerate(kinds) if by_key]
        keys: list[dict[str, Any]] = [{} for _ in instances]
        for number in asked:
            instance = instances[number]
            assert isinstance(instance, Mapping)
            keys[number] = {name: instance[name] for name in (*self._keys, NOW_FIELD) if name in instance}
        if asked:
            answer = await self._read([keys[number] for number in asked])
            _fill_read(answer, asked, values, statuses)
        for number, by_key in enumerate(kinds):
            if not by_key:
                self._fill_given(number, instances[number], values[number], statuses[number])
        self._refuse_missing(values, statuses)
        scores = self.model.scores(values)
        return Predictions(scores, self.model.classes(scores), values, statuses, keys)

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

    def _fill_given(self, number: int, instance: Instance, values: np.ndarray, statuses: list[str]) -> None:
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
        for place, value in enumerate(given):
            values[place] = _number(value, number, features[place])
            statuses[place] = Status.NULL_VALUE if np.isnan(values[place]) else Status.PRESENT

    def _refuse_missing(self, values: np.ndarray, statuses: list[list[str]]) -> None:
        if self.model.card.missing == "impute":
            return
        rows = np.flatnonzero(np.isnan(values).any(axis=1))
        if not len(rows):
            return
        features = self.model.card.features
        told = "; ".join(
            f"instance {row}: "
            + ", ".join(
                f"{features[place]} is {statuses[row][place]}" for place in np.flatnonzero(np.isnan(values[row]))
            )
            for row in rows[:_SHOWN]
        )
        raise MissingFeatures(
            f"The model {self.model.card.name!r} does not guess, and {len(rows)} of {len(values)} instances lack "
            f"features: {told}{' ...' if len(rows) > _SHOWN else ''}.",
            field="instances",
            hint="Leave them out, fill the online store, or train the model with --missing impute.",
        )


def count_statuses(predictions: Predictions, features: Sequence[str]) -> Counter[tuple[str, str]]:
    """How often each feature had each status."""
    return Counter((name, row[place]) for row in predictions.statuses for place, name in enumerate(features))


def _fill_read(answer: OnlineResponse, asked: list[int], values: np.ndarray, statuses: list[list[str]]) -> None:
    columns = answer.columns
    for place, (found, status) in enumerate(zip(columns.values, columns.statuses, strict=True)):
        for number, value, word in zip(asked, found, status, strict=True):
            values[number, place] = np.nan if value is None else float(value)
            statuses[number][place] = str(word)


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
