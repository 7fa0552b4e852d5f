"""Search: which features there are, by the words that describe them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tiffin.definitions.feature import Feature
from tiffin.definitions.feature_table import FeatureTable
from tiffin.refs import FeatureRef
from tiffin.registry.snapshot import Snapshot
from tiffin.types import ValueType


class FeatureInfo(msgspec.Struct, frozen=True):
    """One feature, with what its table says of it. ``description`` is its own, or else its table's."""

    project: str
    feature_table: str
    name: str
    dtype: ValueType
    description: str
    labels: dict[str, str]
    entities: tuple[str, ...]
    owner: str

    @property
    def ref(self) -> FeatureRef:
        """The reference that requests take."""
        return FeatureRef(self.name, self.feature_table, self.project)


def search(snapshot: Snapshot, text: str, project: str | None = None) -> list[FeatureInfo]:
    """The features that all words of ``text`` describe, the best matches first; all of them for an empty text.

    A word counts most in the feature's name, then in its table's name, then in descriptions, labels, entities and
    owner. Archived projects are left out unless they are named.
    """
    projects = [snapshot.project(project).name] if project is not None else snapshot.active_projects()
    words = text.lower().split()
    found: list[tuple[int, str, FeatureInfo]] = []
    for name in projects:
        for record in snapshot.records(FeatureTable.__name__, name):
            table = snapshot.shared(record.key)
            if record.deleted or not isinstance(table, FeatureTable):
                continue
            for feature in table.features:
                score = _score(words, table, feature)
                if score is not None:
                    info = describe(name, table, feature)
                    found.append((-score, str(info.ref), info))
    return [info for _, _, info in sorted(found, key=lambda each: each[:2])]


def _score(words: list[str], table: FeatureTable, feature: Feature) -> int | None:
    """How well the words match; None where one of them does not."""
    rest = " ".join(_texts(table, feature)).lower()
    total = 0
    for word in words:
        if word in feature.name.lower():
            total += 6 if word == feature.name.lower() else 4
        elif word in table.name.lower():
            total += 2
        elif word in rest:
            total += 1
        else:
            return None
    return total


def _texts(table: FeatureTable, feature: Feature) -> Iterator[str]:
    yield from (feature.description, table.description, table.owner, *table.entities)
    for labels in (feature.labels, table.labels):
        for key, value in labels.items():
            yield from (key, value)


def describe(project: str, table: FeatureTable, feature: Feature) -> FeatureInfo:
    """A feature, with what its table says of it."""
    return FeatureInfo(
        project=project,
        feature_table=table.name,
        name=feature.name,
        dtype=feature.dtype,
        description=feature.description or table.description,
        labels=table.labels | feature.labels,
        entities=tuple(table.entities),
        owner=table.owner,
    )
