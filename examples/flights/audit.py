"""An audit of a training set that shares nothing with the join: each sampled row is looked up by hand.

For a flight and a table, keep the rows of its keys whose event time is at or before the departure and not older than
the maximum age, and take the last. That is the rule, word for word, at the price of a scan a flight.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from examples.flights import features
from examples.flights.data import Tables
from tiffin import FeatureTable


def disagreements(tables: Tables, training: pl.DataFrame, *, sample: int, seed: int = 13) -> list[str]:
    """What differs between the training set and the look-ups, as sentences; empty where all agree."""
    rows = training.sample(min(sample, training.height), seed=seed)
    wrong = []
    for definition in (each for each in features.DEFINITIONS if isinstance(each, FeatureTable)):
        history = getattr(tables, definition.name).sort("event_timestamp", maintain_order=True)
        by_key = history.partition_by(definition.entities, as_dict=True)
        read = [
            ref.partition(":")[2] for ref in features.arrival_delay.features if ref.startswith(definition.name + ":")
        ]
        for row in rows.iter_rows(named=True):
            found = _look_up(by_key.get(tuple(row[key] for key in definition.entities)), definition, row)
            for name in read:
                answered, expected = row[f"{definition.name}__{name}"], found.get(name)
                if answered != expected:
                    wrong.append(f"{definition.name}:{name} of {row} is {answered}, should be {expected}")
    return wrong


def _look_up(history: pl.DataFrame | None, definition: FeatureTable, row: dict[str, Any]) -> dict[str, Any]:
    """The row of the history that was the latest at the moment of ``row``, or nothing."""
    if history is None:
        return {}
    moment = row["event_timestamp"]
    known = history.filter(pl.col("event_timestamp") <= moment)
    if definition.max_age is not None:
        known = known.filter(pl.col("event_timestamp") >= moment - definition.max_age)
    return known.tail(1).row(0, named=True) if known.height else {}
