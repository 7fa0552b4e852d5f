"""A long run: the engine for files against the reference, a thousand entity rows a case.

In memory by one look at the files and by two, and in buckets.

With ``--size 1000`` a million entity rows are compared.
"""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import msgspec

from tiffin.definitions.schema import Selection
from tiffin.definitions.source import FileSource
from tiffin.offline import join, memory, polars
from tiffin.offline.retrieve import collect, prepare
from tiffin.testing.frames import assert_same
from tiffin.testing.strategies import FEATURE_TYPES, KEY_TYPES, MIDNIGHT, Case, Shape, build
from tiffin.types import ValueType

ASKED = 1_000
BUDGETS = (None, 60_000)


def run(size: int, seed: int) -> str:
    found = 0
    for number in range(size):
        shape = a_shape(seed + number)
        try:
            found += compare(build(shape))
        except Exception as error:
            raise AssertionError(f"seed {seed + number} fails: {shape}") from error
    if found < size * ASKED // 20:
        raise AssertionError(f"only {found} of {size * ASKED} rows had a winner: the histories ask nothing")
    return f"{size * ASKED} entity rows agree, {found} with a winner"


def compare(case: Case) -> int:
    """How many rows had a winner, all engines agreeing."""
    engine = polars.open_engine()
    with TemporaryDirectory() as folder:
        for number, rows in enumerate(case.files):
            rows.write_parquet(Path(folder) / f"{number}.parquet", row_group_size=50)
        source = case.schema.source
        assert isinstance(source, FileSource)
        placed = FileSource(source.event_timestamp_column, source.file_format, folder, source.created_timestamp_column)
        table = msgspec.structs.replace(case.schema, source=placed)
        selection = Selection(table, table.features, tuple(f"out__{column.name}" for column in table.features))
        winners = 0
        for known_at in (None, "row", MIDNIGHT) if table.created_column else (None,):
            request = prepare([selection], selection.output, case.entities, known_at=known_at)
            expected = collect(memory.open_engine(), *request)
            for budget in BUDGETS:
                assert_same(collect(engine, *request, memory_budget=budget), expected)
            with patch.object(join, "ONE_LOOK_BYTES", 0):
                assert_same(collect(engine, *request), expected)
            winners = max(winners, expected.height - expected[selection.output[0]].null_count())
    return winners


def a_shape(seed: int) -> Shape:
    """Any shape, by chance alone."""
    chance = random.Random(seed)
    unit = chance.choice(["us", "ns", "ms"])
    step = chance.choice([1_000, 1_000_000, 3_600_000_000] + ([] if unit == "ms" else [1]))
    return Shape(
        seed=seed,
        keys=tuple(chance.choices(KEY_TYPES, k=chance.choice([1, 1, 2, 3]))),
        features=(ValueType.INT64, *chance.choices(FEATURE_TYPES, k=3)),
        unit=unit,
        zone=chance.choice([None, "UTC", "America/New_York", "Asia/Kathmandu"]),
        step=step,
        instants=chance.choice([1, 3, 12, 200, 5_000]),
        key_count=chance.choice([1, 5, 40, 300]),
        rows=chance.choice([0, 1, 400, 400, 3_000]),
        asked=ASKED,
        files=chance.randint(1, 5),
        created=chance.random() < 0.7,
        stamped=chance.random() < 0.5,
        deletions=chance.random() < 0.3,
        max_age=chance.choice([None, step, 3 * step, 1_000 * step]),
    )
