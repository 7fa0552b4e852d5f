"""Diff: what changed between two states of a definition, and how much that may break.

Every difference has an impact (semantics, section 6):

- ``compatible``: labels, texts, max age, sources, expectations; a feature that is added
- ``breaking``: a feature that is removed or has another type, other entities of a table; a service that loses a
  feature or takes its features in another order
- ``destructive``: the deletion of an object
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from tiffin.definitions.definition import Definition
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature import Feature
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable

Impact = Literal["none", "compatible", "breaking", "destructive"]

#: From the least to the most.
IMPACTS: Final[tuple[Impact, ...]] = ("none", "compatible", "breaking", "destructive")


class Difference(msgspec.Struct, frozen=True):
    """One difference. ``field`` is a path such as ``features.acc_rate.dtype``; a side that is absent is empty.

    ``feature`` names the feature of a table that it concerns, empty where it concerns the object as a whole.
    """

    field: str
    before: str
    after: str
    impact: Impact
    feature: str = ""

    def __str__(self) -> str:
        if not self.before:
            return f"+ {self.field}: {self.after}"
        if not self.after:
            return f"- {self.field}: {self.before}"
        return f"~ {self.field}: {self.before} -> {self.after}"


def worst(impacts: Iterator[Impact]) -> Impact:
    """The greatest of several impacts."""
    return max(impacts, key=IMPACTS.index, default="none")


def differences(before: Definition, after: Definition) -> tuple[Difference, ...]:
    """Every difference between two states of one object, of the same kind and name."""
    if isinstance(before, FeatureTable) and isinstance(after, FeatureTable):
        return (*_tables(before, after),)
    if isinstance(before, FeatureService) and isinstance(after, FeatureService):
        return (*_services(before, after),)
    if isinstance(before, Entity) and isinstance(after, Entity) and before.value_type is not after.value_type:
        impact: Impact = "breaking"
        changed = Difference("value_type", before.value_type.name, after.value_type.name, impact)
        return (changed, *_plain_fields(before, after))
    return (*_plain_fields(before, after),)


def _tables(before: FeatureTable, after: FeatureTable) -> Iterator[Difference]:
    if sorted(before.entities) != sorted(after.entities):
        yield Difference("entities", ", ".join(before.entities), ", ".join(after.entities), "breaking")
    old = {feature.name: feature for feature in before.features}
    new = {feature.name: feature for feature in after.features}
    for name in [*new, *(name for name in old if name not in new)]:
        yield from _features(name, old.get(name), new.get(name))
    yield from _plain_fields(before, after)


def _features(name: str, before: Feature | None, after: Feature | None) -> Iterator[Difference]:
    path = f"features.{name}"
    if before is None and after is not None:
        yield Difference(path, "", after.dtype.name, "compatible", name)
    elif after is None and before is not None:
        yield Difference(path, before.dtype.name, "", "breaking", name)
    elif before is not None and after is not None:
        if before.dtype is not after.dtype:
            yield Difference(f"{path}.dtype", before.dtype.name, after.dtype.name, "breaking", name)
        if before.description != after.description:
            yield _compatible(f"{path}.description", before.description, after.description, name)
        yield from _mappings(f"{path}.labels", before.labels, after.labels, name)


def _services(before: FeatureService, after: FeatureService) -> Iterator[Difference]:
    kept = [ref for ref in after.features if ref in set(before.features)]
    for ref in after.features:
        if ref not in before.features:
            yield Difference(f"features.{ref}", "", ref, "compatible")
    for ref in before.features:
        if ref not in after.features:
            yield Difference(f"features.{ref}", ref, "", "breaking")
    # A model takes its features by position: what it has must stay first and in its order.
    order = [ref for ref in before.features if ref in set(after.features)]
    if kept != order or after.features[: len(kept)] != kept:
        yield Difference("features order", ", ".join(before.features), ", ".join(after.features), "breaking")
    yield from _plain_fields(before, after)


#: Fields that are compared part by part above, or that are no content.
_APART: Final = frozenset({"name", "meta", "features", "entities", "value_type"})


def _plain_fields(before: Definition, after: Definition) -> Iterator[Difference]:
    """The fields that may always change, compared as plain data."""
    old, new = before.to_spec(), after.to_spec()
    for field, key in zip(before.__struct_fields__, before.__struct_encode_fields__, strict=True):
        if field not in _APART:
            yield from _values(field, old.get(key), new.get(key))


def _values(path: str, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict) and before.get("type") == after.get("type"):
        yield from _mappings(path, before, after)
    elif before != after:
        yield _compatible(path, before, after)


def _mappings(path: str, before: dict[str, Any], after: dict[str, Any], feature: str = "") -> Iterator[Difference]:
    for key in [*after, *(key for key in before if key not in after)]:
        if before.get(key) != after.get(key):
            yield _compatible(f"{path}.{key}", before.get(key), after.get(key), feature)


def _compatible(path: str, before: Any, after: Any, feature: str = "") -> Difference:
    return Difference(path, _shown(before), _shown(after), "compatible", feature)


def _shown(value: Any) -> str:
    if value is None or value == "":
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
