"""Definitions as a person reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from tiffin.cli.plan_view import difference_line
from tiffin.cli.view import Cell, count, facts, labels, moment, table
from tiffin.definitions.definition import Definition
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable
from tiffin.definitions.source import BigQuerySource, FileSource, KafkaSource, KinesisSource
from tiffin.registry.base import Revision
from tiffin.registry.diff import differences


def listing(found: Sequence[Definition]) -> list[RenderableType]:
    """Definitions of one kind, one a line."""
    if not found:
        return ["None are registered."]
    rows: list[list[Cell]] = [[Text(_name(item), "bold"), *_cells(item)] for item in found]
    return [_without_empty(["name", *_columns(found[0])], rows, right=["features"])]


def description(item: Definition) -> list[RenderableType]:
    """One definition, whole."""
    meta = getattr(item, "meta", None)
    pairs: list[tuple[str, Cell]] = [
        ("name", Text(_name(item), "bold")),
        ("description", getattr(item, "description", "")),
        *_facts(item),
        ("owner", getattr(item, "owner", "")),
        ("labels", labels(getattr(item, "labels", {}))),
    ]
    if meta is not None:
        pairs += [("revision", f"{meta.revision}, made {moment(meta.updated)}"), ("created", moment(meta.created))]
    parts: list[RenderableType] = [facts(pairs)]
    if isinstance(item, FeatureTable):
        rows = [
            (feature.name, feature.dtype.name, feature.description, labels(feature.labels)) for feature in item.features
        ]
        parts += ["", _without_empty(["feature", "type", "description", "labels"], rows)]
    return parts


def history(revisions: Sequence[Revision]) -> list[RenderableType]:
    """Revisions, oldest first, each with what it changed."""
    rows: list[list[Cell]] = []
    before: Revision | None = None
    for each in revisions:
        changed = differences(before.definition(), each.definition()) if before is not None else ()
        lines = Text("\n").join(map(difference_line, changed))
        rows.append([str(each.revision), moment(each.at), each.action, each.by, lines])
        before = each
    return [_without_empty(["revision", "at", "action", "by", "changes"], rows, right=["revision"])]


def span(age: timedelta | None) -> str:
    """A span in its largest whole unit: ``2 days``."""
    if age is None:
        return ""
    seconds = age.total_seconds()
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            return count(int(seconds // size), unit)
    return f"{seconds:g} seconds"


def _name(item: Definition) -> str:
    return str(getattr(item, "name", ""))


def _columns(item: Definition) -> list[str]:
    if isinstance(item, Entity):
        return ["type", "description", "labels"]
    if isinstance(item, FeatureTable):
        return ["entities", "features", "max age", "source", "labels"]
    return ["features", "description", "labels"]


def _cells(item: Definition) -> list[str]:
    if isinstance(item, Entity):
        return [item.value_type.name, item.description, labels(item.labels)]
    if isinstance(item, FeatureTable):
        place = source_words(item.batch_source) or "managed"
        return [", ".join(item.entities), str(len(item.features)), span(item.max_age), place, labels(item.labels)]
    assert isinstance(item, FeatureService)
    return [str(len(item.features)), item.description, labels(item.labels)]


def _facts(item: Definition) -> Iterator[tuple[str, Cell]]:
    if isinstance(item, Entity):
        yield "type", item.value_type.name
    if isinstance(item, FeatureService):
        yield "features", "\n".join(item.features)
    if isinstance(item, FeatureTable):
        yield "entities", ", ".join(item.entities)
        yield "max age", span(item.max_age)
        yield "history", source_words(item.batch_source) or "a managed folder of the store"
        yield "stream", source_words(item.stream_source)
        yield "deletions", f"column {item.deleted_column}" if item.deleted_column else ""
        yield "expectations", "\n".join(type(each).__name__ for each in item.expectations)


def source_words(source: Any) -> str:
    """Where a source is."""
    if isinstance(source, FileSource):
        return source.file_url
    if isinstance(source, BigQuerySource):
        return source.table_ref
    if isinstance(source, KafkaSource):
        return f"Kafka topic {source.topic} at {source.bootstrap_servers}"
    if isinstance(source, KinesisSource):
        return f"Kinesis stream {source.stream_name} in {source.region}"
    return ""


def _without_empty(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, right: Sequence[str] = ()
) -> RenderableType:
    """A table without the columns that nobody filled."""
    kept = [at for at in range(len(columns)) if any(row[at] for row in rows)]
    return table([columns[at] for at in kept], ([row[at] for at in kept] for row in rows), right=right)
