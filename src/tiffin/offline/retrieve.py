"""Retrieval: from a request and an entity source to a training set, in memory or as files.

A folder of part files is whole or absent: parts are written to a sibling and renamed together, or on a bucket, which
cannot rename, finished by a marker.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import polars as pl

from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import DELETED, EVENT_TS, Selection
from tiffin.errors import AlreadyExists, InvalidArgument, StorageError
from tiffin.offline.base import OfflineEngine, Window
from tiffin.offline.entities import TIMESTAMP_COLUMN, open_entities, timestamp_column
from tiffin.offline.location import filesystem, is_remote, normalise
from tiffin.offline.plan import RetrievalPlan, check_entity_columns, make_plan
from tiffin.types import polars_type

#: The file that says that all parts beside it are written.
SUCCESS: Final = "_SUCCESS"


class Prepared(NamedTuple):
    """A plan with the rows that it is to be answered for, both checked."""

    plan: RetrievalPlan
    entities: pl.LazyFrame


def prepare(
    selections: Sequence[Selection],
    columns: Sequence[str],
    entity_source: Any,
    *,
    known_at: Literal["row"] | int | None = None,
) -> Prepared:
    """Read the heads of a request: everything that can be wrong with it is raised here, before any history is read.

    ``columns`` are the answer's feature columns in the order of the request. For ``entity_source`` see
    :func:`tiffin.offline.entities.open_entities`.
    """
    plan = make_plan(selections, columns, timestamp_column=timestamp_column(entity_source), known_at=known_at)
    entities = open_entities(entity_source, plan.keys)
    check_entity_columns(plan, entities.collect_schema().names())
    return Prepared(plan, entities)


def collect(
    engine: OfflineEngine,
    plan: RetrievalPlan,
    entities: pl.LazyFrame,
    *,
    memory_budget: int | None = None,
    control: Control = UNWATCHED,
) -> pl.DataFrame:
    """The training set in memory."""
    return pl.concat(engine.join(plan, entities, memory_budget=memory_budget, control=control), rechunk=False)


def retrieve(
    engine: OfflineEngine,
    plan: RetrievalPlan,
    entities: pl.LazyFrame,
    output_uri: str,
    *,
    memory_budget: int | None = None,
    control: Control = UNWATCHED,
) -> int:
    """Write the training set as part files to the folder ``output_uri``; how many rows it has."""
    batches = engine.join(plan, entities, memory_budget=memory_budget, control=control)
    return write_parts(batches, output_uri, control=control)


def write_parts(batches: Iterable[pl.DataFrame], output_uri: str, *, control: Control = UNWATCHED) -> int:
    """Write each batch as ``part-00000.parquet`` and so on below ``output_uri``, whole or not at all; the rows.

    AlreadyExists where the folder is there and not empty; StorageError where it cannot be written.
    """
    uri = normalise(output_uri)
    return _to_bucket(batches, uri, control) if is_remote(uri) else _to_folder(batches, Path(uri), control)


def check_output(output_uri: str) -> None:
    """Raise AlreadyExists where a training set cannot be written to ``output_uri`` because something is there."""
    uri = normalise(output_uri)
    try:
        if is_remote(uri):
            files = filesystem(uri)
            occupied = bool(files.exists(uri) and files.find(uri))
        else:
            folder = Path(uri)
            occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise _refused(uri, error) from error
    if occupied:
        raise AlreadyExists(
            f"The output location {uri!r} is not empty.",
            field="output_location",
            hint="Give a location of its own to each training set.",
        )


def latest_frame(
    engine: OfflineEngine,
    selections: Sequence[Selection],
    columns: Sequence[str],
    at: int,
    *,
    memory_budget: int | None = None,
    control: Control = UNWATCHED,
) -> Iterator[pl.DataFrame]:
    """Every key that the tables know at the instant ``at`` (UTC microseconds), with the values it has then.

    Columns are the keys, ``event_timestamp`` (which is ``at``) and ``columns``. What is older than a table's max age is
    null. Keys that are deleted in all tables that knew them are left out. InvalidArgument where the tables' entities
    are not the same.
    """
    plan = make_plan(selections, columns)
    keys = list(plan.selections[0].table.key_names)
    for selection in plan.selections:
        if set(selection.table.key_names) != set(keys):
            raise InvalidArgument(
                f"{plan.selections[0].table.label()} is keyed by {keys}, {selection.table.label()} by "
                f"{list(selection.table.key_names)}: there is no set of keys that both know.",
                field="features",
                hint="Ask for tables of the same entities, or give entity rows.",
            )
    known = [_known(engine, selection, keys, at, memory_budget, control) for selection in plan.selections]
    first, *others = known
    if not others:
        return _named(first, keys, plan.columns, at)
    joined = pl.concat(first)
    for batches in others:
        joined = joined.join(pl.concat(batches), on=keys, how="full", coalesce=True, maintain_order="left_right")
    return _named(iter([joined]), keys, plan.columns, at)


def _known(
    engine: OfflineEngine,
    selection: Selection,
    keys: Sequence[str],
    at: int,
    memory_budget: int | None,
    control: Control,
) -> Iterator[pl.DataFrame]:
    """One table's keys that are not deleted, with their features under the names of the answer."""
    max_age = selection.table.max_age
    fresh = pl.lit(value=True) if not max_age else pl.col(EVENT_TS).to_physical() >= at - max_age
    features = [
        pl.when(fresh).then(pl.col(column.name)).otherwise(pl.lit(None, polars_type(column.dtype))).alias(name)
        for column, name in zip(selection.features, selection.output, strict=True)
    ]
    window = Window(end=at + 1)
    for batch in engine.latest(selection.table, window, memory_budget=memory_budget, control=control):
        yield batch.filter(~pl.col(DELETED)).select(*keys, *features)


def _named(
    batches: Iterator[pl.DataFrame], keys: Sequence[str], columns: Sequence[str], at: int
) -> Iterator[pl.DataFrame]:
    instant = pl.lit(at, pl.Int64).cast(pl.Datetime("us", "UTC")).alias(TIMESTAMP_COLUMN)
    return (batch.select(*keys, instant, *columns) for batch in batches)


def _to_folder(batches: Iterable[pl.DataFrame], folder: Path, control: Control) -> int:
    staging = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        check_output(str(folder))
        staging.mkdir(parents=True)
        rows = 0
        for number, batch in enumerate(batches):
            control.check()
            batch.write_parquet(staging / _part(number))
            rows += batch.height
            control.progress(rows)
        staging.rename(folder)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise _refused(str(folder), error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return rows


def _to_bucket(batches: Iterable[pl.DataFrame], uri: str, control: Control) -> int:
    files = filesystem(uri)
    rows = 0
    try:
        check_output(uri)
        for number, batch in enumerate(batches):
            control.check()
            batch.write_parquet(f"{uri}/{_part(number)}")
            rows += batch.height
            control.progress(rows)
        files.pipe_file(f"{uri}/{SUCCESS}", b"")
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise _refused(uri, error) from error
    return rows


def _part(number: int) -> str:
    return f"part-{number:05d}.parquet"


def _refused(where: str, error: OSError) -> StorageError:
    return StorageError(
        f"The training set cannot be written to {where!r}: {error}",
        field="output_location",
        hint="Check that it can be written and that its disk has room.",
    )
