"""Each case on Tiffin, in a folder of its own. The same data and the same questions as ``on_feast.py``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from tiffin import Client, Entity, Feature, FeatureTable, FileSource, ValueType
from tiffin.data_format import ParquetFormat
from tiffin.errors import TiffinError

DAY = timedelta(days=1)
START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 40 * DAY
TIME = pl.Datetime("us", "UTC")


def day(number: int) -> datetime:
    """A midnight of last month: Feast looks back no further than a year."""
    return START + number * DAY


def frame(*rows: tuple[int, datetime, datetime, float | None]) -> pl.DataFrame:
    schema = {"driver_id": pl.Int64, "event_timestamp": TIME, "created_timestamp": TIME, "total": None}
    return pl.DataFrame(rows, schema=schema, orient="row")


def entities(*rows: tuple[int, datetime]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"driver_id": pl.Int64, "event_timestamp": TIME}, orient="row")


def store(folder: Path, rows: pl.DataFrame, *, max_age: timedelta | None = None) -> Client:
    client = Client(home=str(folder))
    source = FileSource("event_timestamp", ParquetFormat(), str(folder / "fares"), "created_timestamp")
    fares = FeatureTable("fares", ["driver_id"], [Feature("total", ValueType.INT64)], source, max_age=max_age)
    client.apply([Entity("driver_id", value_type=ValueType.INT64), fares])
    client.ingest("fares", rows)
    client.materialize_incremental()
    return client


def training(client: Client, *rows: tuple[int, datetime]) -> list[int | None]:
    return client.get_historical_features(["fares:total"], entities(*rows)).to_polars()["fares__total"].to_list()


def online(client: Client, key: int) -> list[int | None]:
    return client.get_online_features(["fares:total"], [{"driver_id": key}]).to_dict()["fares:total"]


def rows_kept(folder: Path) -> object:
    """A driver that is unknown, one whose only fact is too old, and one asked twice."""
    client = store(folder, frame((1, day(1), day(1), 10), (2, day(5), day(5), 20)), max_age=DAY)
    moments = ((1, day(5)), (2, day(5)), (2, day(5)), (3, day(5)))
    return f"{len(training(client, *moments))} of 4 rows"


def nullable_integers(folder: Path) -> object:
    big = 9_007_199_254_740_993
    client = store(folder, frame((1, day(1), day(1), big), (2, day(1), day(1), None)))
    return training(client, (1, day(2)), (2, day(2)))


def late_row_online(folder: Path) -> object:
    client = store(folder, frame((1, day(1), day(1), 10)))
    client.push("fares", frame((1, day(4), day(4), 40)))
    client.push("fares", frame((1, day(2), day(5), 20)))
    return online(client, 1)


def late_row_incremental(folder: Path) -> object:
    client = store(folder, frame((1, day(1), day(1), 10)))
    client.ingest("fares", frame((2, day(3), day(6), 20)))
    client.materialize_incremental()
    return online(client, 2)


def expired_online(folder: Path) -> object:
    client = store(folder, frame((1, day(1), day(1), 10)), max_age=DAY)
    return online(client, 1)


def future_row_online(folder: Path) -> object:
    client = store(folder, frame((1, day(1), day(1), 10)))
    ahead = datetime.now(UTC) + timedelta(days=365)
    client.push("fares", frame((1, ahead, ahead, 99)))
    return online(client, 1)


def correction_online(folder: Path) -> object:
    """The same event told twice, the correction first."""
    client = store(folder, frame((1, day(1), day(1), 10)))
    client.push("fares", frame((1, day(4), day(6), 46)))
    client.push("fares", frame((1, day(4), day(4), 40)))
    return online(client, 1)


def wrong_type(folder: Path) -> object:
    client = store(folder, frame((1, day(1), day(1), 10)))
    client.push("fares", frame((1, day(2), day(2), 20.7)))
    return online(client, 1)


ANSWERS: dict[str, Callable[[Path], object]] = {
    case.__name__: case
    for case in (
        rows_kept,
        nullable_integers,
        late_row_online,
        correction_online,
        late_row_incremental,
        expired_online,
        future_row_online,
        wrong_type,
    )
}


def answer(name: str, folder: Path) -> object:
    """What Tiffin answers to one case; the name of the error where it refuses."""
    try:
        return ANSWERS[name](folder)
    except TiffinError as error:
        return type(error).__name__


def answers() -> dict[str, object]:
    """All answers, by the names of the cases."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: answer(name, Path(folder) / name) for name in ANSWERS}
