"""The daily statistics of a fleet of drivers, made up from a seed: the same on every machine.

The article reads its own; its columns and types are kept. ``sales_status`` is its target: 1 where the day's fares
reached what the driver set out to earn.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

FIRST_DAY = datetime(2020, 9, 1, tzinfo=UTC)
DAYS = 30
DRIVERS = range(1001, 1051)


def statistics(seed: int = 2020) -> pd.DataFrame:
    """One row a driver and day, 1500 in all. ``created`` is an hour after ``datetime``: when the day was added up."""
    source = random.Random(seed)
    rows = []
    for driver in DRIVERS:
        skill, trips_a_day, fare_a_trip = source.uniform(0.5, 0.95), source.uniform(8, 22), source.uniform(9, 16)
        goal = int(trips_a_day * fare_a_trip)
        for day in range(DAYS):
            trips = max(0, round(source.gauss(trips_a_day, 3)))
            fares = int(trips * fare_a_trip * source.uniform(0.85, 1.15))
            at = FIRST_DAY + timedelta(days=day)
            rows.append(
                {
                    "driver_id": driver,
                    "acc_rate": min(1.0, max(0.0, source.gauss(skill, 0.05))),
                    "conv_rate": min(1.0, max(0.0, source.gauss(skill * 0.8, 0.08))),
                    "avg_daily_trips": trips,
                    "fare_amount": fares,
                    "sales_status": int(fares >= goal),
                    "datetime": at,
                    "created": at + timedelta(hours=1),
                }
            )
    small = {"acc_rate": "float32", "conv_rate": "float32"}
    counts = {"avg_daily_trips": "int32", "fare_amount": "int32", "sales_status": "int32"}
    return pd.DataFrame(rows).astype(small | counts)


def entities(seed: int = 2021, rows: int = 400) -> pd.DataFrame:
    """Drivers and the moments at which a model would have judged them; a few come before any statistics."""
    source = random.Random(seed)
    moments = [FIRST_DAY + timedelta(seconds=source.randrange(-86_400, DAYS * 86_400)) for _ in range(rows)]
    return pd.DataFrame({"driver_id": [source.choice(DRIVERS) for _ in range(rows)], "event_timestamp": moments})


def write_entities(path: Path) -> None:
    """Write ``entity.csv``, the file that the article reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entities().to_csv(path, index=False)
