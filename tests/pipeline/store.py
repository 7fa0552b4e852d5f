"""A small store of drivers, as in the article, whose sales status follows from its features but for some noise."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from tiffin import Client, Entity, Feature, FeatureTable, ValueType

DAY = timedelta(days=1)
FIRST = datetime(2020, 9, 1, tzinfo=UTC)
TARGET = "driver_statistics__sales_status"
FEATURES = [
    "driver_statistics:avg_daily_trips",
    "driver_statistics:conv_rate",
    "driver_statistics:acc_rate",
    "driver_statistics:fare_amount",
    "driver_statistics:sales_status",
]


def statistics(drivers: int = 40, days: int = 20, seed: int = 0) -> pl.DataFrame:
    """A row a driver and day; one in ten has no acceptance rate."""
    generator = np.random.default_rng(seed)
    count = drivers * days
    trips = generator.integers(0, 1000, count)
    rate = generator.random(count)
    noise = generator.normal(scale=0.1, size=count)
    accepted = pl.Series(generator.random(count), dtype=pl.Float32)
    return pl.DataFrame(
        {
            "driver_id": np.tile(np.arange(1001, 1001 + drivers), days),
            "event_timestamp": [FIRST + DAY * int(day) for day in np.repeat(np.arange(days), drivers)],
            "avg_daily_trips": pl.Series(trips, dtype=pl.Int32),
            "conv_rate": pl.Series(rate, dtype=pl.Float32),
            "acc_rate": pl.select(pl.when(pl.Series(generator.random(count) > 0.1)).then(accepted)).to_series(),
            "fare_amount": pl.Series(generator.integers(5, 90, count), dtype=pl.Int32),
            "sales_status": pl.Series((trips / 1000 + rate + noise > 1).astype(int), dtype=pl.Int32),
        }
    )


def fill(home: Path) -> Client:
    """A client of a new store with those rows, offline and online."""
    client = Client(home=str(home))
    client.apply(
        [
            Entity("driver_id", value_type=ValueType.INT64),
            FeatureTable(
                "driver_statistics",
                ["driver_id"],
                [
                    Feature("acc_rate", ValueType.FLOAT),
                    Feature("conv_rate", ValueType.FLOAT),
                    Feature("avg_daily_trips", ValueType.INT32),
                    Feature("fare_amount", ValueType.INT32),
                    Feature("sales_status", ValueType.INT32),
                    Feature("city", ValueType.STRING),
                ],
            ),
        ]
    )
    client.ingest("driver_statistics", statistics().with_columns(city=pl.lit("Pune")))
    return client


def write_questions(folder: Path) -> tuple[Path, Path]:
    """``features.json`` and ``entity.csv``: every driver at noon of every day, and one whom nobody knows."""
    features, entities = folder / "features.json", folder / "entity.csv"
    features.write_text(json.dumps({"Features": FEATURES}))
    rows = statistics().select(
        "driver_id", (pl.col("event_timestamp") + timedelta(hours=12)).dt.replace_time_zone(None)
    )
    unknown = pl.DataFrame({"driver_id": [9999], "event_timestamp": [datetime(2020, 9, 5)]})  # noqa: DTZ001
    pl.concat([rows, unknown.cast(dict(rows.schema))]).write_csv(entities)
    return features, entities
