"""Each case on Feast, through its Python interface; run by the interpreter of Feast's own environment.

Prints one JSON object: the answer of each case by its name.
"""

import json
import sys
import tempfile
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Int64
from feast.value_type import ValueType

DAY = timedelta(days=1)
START = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 40 * DAY


def day(number: int) -> datetime:
    """A midnight of last month: Feast looks back no further than a year."""
    return START + number * DAY


def frame(*rows: tuple[int, datetime, datetime, int | None]) -> pd.DataFrame:
    columns = ["driver_id", "event_timestamp", "created", "total"]
    return pd.DataFrame(rows, columns=columns).astype({"total": "Int64"})


def entities(*rows: tuple[int, datetime]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["driver_id", "event_timestamp"])


class Store:
    """A store of one view over one file, as `feast init` sets it up: file offline store, SQLite online."""

    def __init__(self, rows: pd.DataFrame, *, ttl: timedelta | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="losses-", dir=sys.argv[1]))
        self.file = self.folder / "fares.parquet"
        rows.to_parquet(self.file)
        self.store = self.open()
        driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
        source = FileSource(
            path=str(self.file), timestamp_field="event_timestamp", created_timestamp_column="created", name="fares"
        )
        schema = [Field(name="driver_id", dtype=Int64), Field(name="total", dtype=Int64)]
        self.view = FeatureView(name="fares", entities=[driver], schema=schema, source=source, ttl=ttl, online=True)
        self.store.apply([driver, source, self.view])

    def open(self) -> FeatureStore:
        return FeatureStore(
            config=RepoConfig(
                project="losses",
                provider="local",
                registry=str(self.folder / "registry.db"),
                online_store={"type": "sqlite", "path": str(self.folder / "online.db")},
                entity_key_serialization_version=3,
            )
        )

    def training(self, asked: pd.DataFrame) -> pd.DataFrame:
        job = self.store.get_historical_features(asked, ["fares:total"])
        return job.to_df().sort_values(["event_timestamp", "driver_id"])

    def online(self, *keys: int) -> list:
        rows = [{"driver_id": key} for key in keys]
        return self.store.get_online_features(["fares:total"], rows).to_dict()["total"]


def plain(values) -> list:
    return [None if pd.isna(value) else float(value) if isinstance(value, float) else int(value) for value in values]


def rows_kept() -> object:
    """A driver that is unknown, one whose only fact is too old, and one asked twice."""
    store = Store(frame((1, day(1), day(1), 10), (2, day(5), day(5), 20)), ttl=DAY)
    moments = ((1, day(5)), (2, day(5)), (2, day(5)), (3, day(5)))
    return f"{len(store.training(entities(*moments)))} of 4 rows"


def nullable_integers() -> object:
    big = 9_007_199_254_740_993
    store = Store(frame((1, day(1), day(1), big), (2, day(1), day(1), None)))
    answer = store.training(entities((1, day(2)), (2, day(2))))
    return plain(answer["total"])


def late_row_online() -> object:
    store = Store(frame((1, day(1), day(1), 10)))
    store.store.write_to_online_store("fares", frame((1, day(4), day(4), 40)))
    store.store.write_to_online_store("fares", frame((1, day(2), day(5), 20)))
    return plain(store.online(1))


def late_row_incremental() -> object:
    store = Store(frame((1, day(1), day(1), 10)))
    store.store.materialize_incremental(day(5))
    late = frame((1, day(1), day(1), 10), (2, day(3), day(6), 20))
    late.to_parquet(store.file)
    store.store.materialize_incremental(day(7))
    return plain(store.online(2))


def expired_online() -> object:
    store = Store(frame((1, day(1), day(1), 10)), ttl=DAY)
    store.store.materialize(day(1) - DAY, day(2))
    return plain(store.online(1))


def future_row_online() -> object:
    store = Store(frame((1, day(1), day(1), 10)))
    ahead = datetime.now(UTC) + timedelta(days=365)
    store.store.write_to_online_store("fares", frame((1, ahead, ahead, 99)))
    return plain(store.online(1))


def correction_online() -> object:
    """The same event told twice, the correction first."""
    store = Store(frame((1, day(1), day(1), 10)))
    store.store.write_to_online_store("fares", frame((1, day(4), day(6), 46)))
    store.store.write_to_online_store("fares", frame((1, day(4), day(4), 40)))
    return plain(store.online(1))


def wrong_type() -> object:
    store = Store(frame((1, day(1), day(1), 10)))
    wrong = frame((1, day(2), day(2), 20)).astype({"total": "float64"})
    wrong["total"] = 20.7
    store.store.write_to_online_store("fares", wrong)
    return plain(store.online(1))


CASES = [
    rows_kept,
    nullable_integers,
    late_row_online,
    late_row_incremental,
    expired_online,
    future_row_online,
    correction_online,
    wrong_type,
]

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answers = {}
    for case in CASES:
        try:
            answers[case.__name__] = case()
        except Exception as error:  # noqa: BLE001  # whatever Feast raises is its answer
            answers[case.__name__] = f"{type(error).__name__}: {str(error)[:80]}"
    print(json.dumps(answers))
