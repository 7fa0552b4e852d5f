"""FeatureTable: features that share keys, a source and a cadence."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from tiffin.definitions import base
from tiffin.definitions.definition import Definition
from tiffin.definitions.entity import Entity
from tiffin.definitions.expectation import AnyExpectation, Expectation
from tiffin.definitions.feature import Feature
from tiffin.definitions.source import AnyBatchSource, AnyStreamSource, BigQuerySource, FileSource, KafkaSource
from tiffin.definitions.source import KinesisSource as _Kinesis
from tiffin.errors import InvalidDefinition, NameWarning, closest
from tiffin.refs import DISCOURAGED, RESERVED, check_name

#: The greatest max age: added to any instant, it still fits 64 bits of microseconds.
_LONGEST: Final = timedelta(days=10_000_000)


class FeatureTable(Definition):
    """Features that are keyed by the same entities and come from the same source.

    ``entities`` are names of entities (an :class:`Entity` gives its name). ``max_age`` takes a timedelta, seconds,
    or an object with ``.seconds``; None or zero means no limit. ``deleted_column`` names a boolean column of the source
    that marks deletions. ``to_offline=False`` keeps rows of the stream out of the batch source.
    """

    name: str
    entities: list[str]
    features: list[Feature]
    batch_source: AnyBatchSource | None = None
    stream_source: AnyStreamSource | None = None
    max_age: timedelta | None = None
    labels: dict[str, str] = {}
    description: str = ""
    owner: str = ""
    to_offline: bool = True
    expectations: list[AnyExpectation] = []
    deleted_column: str = ""
    meta: base.Meta | None = None

    def add_feature(self, feature: Feature) -> None:
        """Append a feature; apply the table to make it so."""
        self.features = [*self.features, feature]

    def _coerce(self, name: str, value: Any) -> Any:
        match name:
            case "entities":
                return [_entity_name(item) for item in _items(value, field=name)]
            case "features":
                return [_expect(item, Feature, field=name) for item in _items(value, field=name)]
            case "expectations":
                return [_expect(item, Expectation, field=name) for item in _items(value or (), field=name)]
            case "batch_source":
                return value if value is None else _expect(value, FileSource | BigQuerySource, field=name)
            case "stream_source":
                return value if value is None else _expect(value, KafkaSource | _Kinesis, field=name)
            case "max_age":
                return _max_age(value)
            case "labels":
                return base.mapping(value, field=name)
            case "to_offline":
                return _expect(value, bool, field=name)
            case "meta":
                return base.registered(value)
            case _:
                return base.text(value, field=name)

    def _canonical(self) -> object:
        return (
            self.name,
            sorted(self.entities),
            sorted((f.name, f.dtype.name, sorted(f.labels.items()), f.description) for f in self.features),
            self.batch_source,
            self.stream_source,
            self.max_age,
            self.labels,
            self.description,
            self.owner,
            self.to_offline,
            self.expectations,
            self.deleted_column,
        )

    def _ordered_spec(self) -> dict[str, Any]:
        spec = self.to_spec()
        spec["entities"] = sorted(spec.get("entities", []))
        spec["features"] = sorted(spec.get("features", []), key=lambda feature: str(feature.get("name", "")))
        return spec

    def check(self) -> None:
        """Raise InvalidDefinition where a rule is broken; warn of names that other systems reserve."""
        self.recoerce()
        check_name(self.name, kind="feature table")
        what = f"FeatureTable {self.name!r}"
        base.check_labels(self.labels, kind=what)
        if not self.entities:
            raise InvalidDefinition(
                f"{what} must have at least one entity.",
                field="entities",
                hint="Name the entities whose keys its rows have.",
            )
        if not self.features:
            raise InvalidDefinition(
                f"{what} must have at least one feature.",
                field="features",
                hint="Give a Feature for each column that is read.",
            )
        for entity in self.entities:
            check_name(entity, kind="entity")
        for feature in self.features:
            feature.check()
        self._check_distinct(what)
        for source in (self.batch_source, self.stream_source):
            if source is not None:
                source.check()
        known = {*self.entities, *(feature.name for feature in self.features)}
        for expectation in self.expectations:
            expectation.check()
            for column in expectation.columns():
                if column not in known:
                    raise InvalidDefinition(
                        f"{what} has an expectation on {column!r}, which is neither an entity nor a feature of it.",
                        field="expectations",
                        hint=closest(column, known),
                    )

    def _check_distinct(self, what: str) -> None:
        names = [*self.entities, *(feature.name for feature in self.features)]
        for name in names:
            if name in RESERVED:
                raise InvalidDefinition(
                    f"{what} uses the reserved name {name!r}.", field=name, hint=f"Reserved: {sorted(RESERVED)}."
                )
            if name in DISCOURAGED:
                warnings.warn(f"{what} uses {name!r}, which other systems reserve.", NameWarning, stacklevel=4)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidDefinition(
                f"{what}: entity and feature names must be pairwise distinct, but {twice} stand more than once.",
                field=twice[0],
            )


def _items(value: object, *, field: str) -> Iterable[Any]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidDefinition(f"{field} must be a list, got {value!r}.", field=field, hint="Put it in brackets.")
    return value


def _expect(value: Any, kind: Any, *, field: str) -> Any:
    if not isinstance(value, kind):
        wanted = getattr(kind, "__name__", None) or str(kind).replace("tiffin.definitions.source.", "")
        raise InvalidDefinition(f"{field} must be of {wanted}, got {value!r}.", field=field)
    return value


def _entity_name(value: object) -> str:
    return value.name if isinstance(value, Entity) else base.text(value, field="entities")


def _max_age(value: Any) -> timedelta | None:
    """No limit for None and zero, else a positive span."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        span = value
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LONGEST.total_seconds():
        span = timedelta(seconds=value)
    elif isinstance(getattr(value, "seconds", None), int):
        span = timedelta(seconds=value.seconds, microseconds=getattr(value, "nanos", 0) // 1_000)
    else:
        raise InvalidDefinition(
            f"max_age {value!r} is not a span of time.", field="max_age", hint="Give a timedelta or seconds."
        )
    if not timedelta(0) <= span <= _LONGEST:
        raise InvalidDefinition(
            f"max_age must not be negative, and at most {_LONGEST.days} days, got {value!r}.", field="max_age"
        )
    return span or None
