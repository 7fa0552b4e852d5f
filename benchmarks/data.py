"""The generated Parquet files: made from a seed once, kept under the work folder, and reused."""

import shutil
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.shapes import CREATED, END, ENTITY, EVENT, SPAN, Shape

# Part of the folder's name: raise it when the generator changes, so that older files are not taken for the new ones.
VERSION = 2
SEED = 20260101
TIE_SHARE = 0.1
UNKNOWN_KEYS = 0.02


def folder(work: Path, shape: Shape) -> Path:
    """Where the files of a shape are kept."""
    return work / "data" / f"v{VERSION}-{shape.name}-{shape.rows}"


def table_path(data: Path, shape: Shape, table: str) -> Path:
    """The table's one file, or its folder of files."""
    return data / table if shape.files > 1 else data / table / "part-0000.parquet"


def entities_path(data: Path) -> Path:
    """The one file of entity rows."""
    return data / "entities.parquet"


def parameters(work: Path, shape: Shape) -> dict[str, Any]:
    """What a task needs to find the files of a shape."""
    return {"shape": asdict(shape), "data": str(folder(work, shape))}


def generate(shape: dict[str, Any], data: str) -> dict[str, Any]:
    """Write the files of one shape, unless they are there. A half-written folder never gets the final name."""
    made = Shape(**shape)
    target = Path(data)
    if target.exists():
        return {"seconds": 0.0}
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for number, name in enumerate(made.table_names):
        (partial / name).mkdir(parents=True)
        for file in range(made.files):
            _write_features(partial / name / f"part-{file:04d}.parquet", made, number, file)
    if made.entity_rows:
        _write_entities(entities_path(partial), made)
    partial.rename(target)
    return {"seconds": 0.0}


def _write_features(path: Path, shape: Shape, table: int, file: int) -> None:
    """One file holds one slice of time, its rows in the order of their creation, as a pipeline would have written them.

    A tenth of the rows repeat the key and the event time of another row and were created a second later: the ties that
    the created timestamp must break. No two rows tie on both times, so there is exactly one right answer.
    """
    import numpy as np
    import polars as pl

    rows = shape.rows // shape.files
    random = np.random.default_rng([SEED, table, file])
    slice_of_time = SPAN / shape.files
    start = _micros(END - SPAN + slice_of_time * file)
    event = start + random.integers(0, _length(slice_of_time), rows)
    created = event + random.integers(0, _length(timedelta(hours=1)), rows)
    if shape.events_per_key == 1:
        key = random.permutation(rows) + file * rows
    else:
        key = random.integers(0, shape.keys, rows)
        ties = int(rows * TIE_SHARE)
        first = random.choice(rows - ties, ties, replace=False)
        key[rows - ties :] = key[first]
        event[rows - ties :] = event[first]
        created[rows - ties :] = created[first] + 1_000_000
    order = np.argsort(created, kind="stable")
    columns: dict[str, Any] = {ENTITY: key[order], EVENT: event[order], CREATED: created[order]}
    columns[shape.feature_names[0]] = np.arange(rows, dtype=np.int64) + file * rows
    for name in shape.feature_names[1:]:
        columns[name] = random.standard_normal(rows)
    instant = pl.Datetime("us", "UTC")
    frame = pl.DataFrame(columns).with_columns(pl.col(EVENT).cast(instant), pl.col(CREATED).cast(instant))
    frame.write_parquet(path, row_group_size=131_072)


def _write_entities(path: Path, shape: Shape) -> None:
    """Keys and instants at random, in no order; a few keys have no history at all."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng([SEED, 1_000_000])
    keys = random.integers(0, max(1, int(shape.keys * (1 + UNKNOWN_KEYS))), shape.entity_rows)
    times = _micros(END - SPAN) + random.integers(0, _length(SPAN), shape.entity_rows)
    frame = pl.DataFrame({ENTITY: keys, EVENT: times}).with_columns(pl.col(EVENT).cast(pl.Datetime("us", "UTC")))
    frame.write_parquet(path)


def _micros(instant: Any) -> int:
    return int(instant.timestamp()) * 1_000_000 + int(instant.microsecond)


def _length(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
