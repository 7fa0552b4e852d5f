"""Differences and their impact."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.definitions.strategies import entities, feature_tables, services
from tiffin import Entity, Feature, FeatureService, FeatureTable, FileSource, KafkaSource
from tiffin.data_format import DeltaFormat, JsonFormat, ParquetFormat
from tiffin.definitions.definition import Definition
from tiffin.definitions.expectation import NotNull
from tiffin.registry.diff import differences, worst
from tiffin.types import ValueType

A, B = Feature("a", ValueType.INT32), Feature("b", ValueType.STRING)
SOURCE = FileSource("ts", ParquetFormat(), "x")


def table(**changes: Any) -> FeatureTable:
    attributes: dict[str, Any] = {"name": "t", "entities": ["e"], "features": [A, B], "batch_source": SOURCE}
    return FeatureTable(**attributes | changes)


def service(*features: str, **more: Any) -> FeatureService:
    return FeatureService("s", list(features), **more)


@pytest.mark.parametrize(
    ("before", "after", "impact", "lines"),
    [
        (table(), table(features=[B, A]), "none", []),
        (table(), table(labels={"k": "v"}), "compatible", ["+ labels: {\"k\":\"v\"}"]),
        (table(labels={"k": "v", "l": "w"}), table(labels={"k": "x"}), "compatible",
         ["~ labels.k: v -> x", "- labels.l: w"]),
        (table(), table(description="d", owner="o"), "compatible", ["+ description: d", "+ owner: o"]),
        (table(), table(max_age=timedelta(hours=1)), "compatible", ["+ max_age: 3600s"]),
        (table(max_age=60), table(max_age=90), "compatible", ["~ max_age: 60s -> 90s"]),
        (table(features=[A]), table(), "compatible", ["+ features.b: STRING"]),
        (table(), table(batch_source=FileSource("t2", DeltaFormat(), "x")), "compatible",
         ["~ batch_source.eventTimestampColumn: ts -> t2",
          '~ batch_source.fileFormat: {"type":"parquet"} -> {"type":"delta"}']),
        (table(), table(stream_source=KafkaSource("ts", "b", JsonFormat(), "t"), to_offline=False), "compatible", None),
        (table(), table(expectations=[NotNull("a")], deleted_column="gone"), "compatible", None),
        (table(), table(features=[A, Feature("b", ValueType.STRING, {"k": "v"}, "text")]), "compatible",
         ["+ features.b.description: text", "+ features.b.labels.k: v"]),
        (table(), table(features=[A]), "breaking", ["- features.b: STRING"]),
        (table(), table(features=[A, Feature("b", ValueType.BYTES)]), "breaking",
         ["~ features.b.dtype: STRING -> BYTES"]),
        (table(), table(entities=["e", "f"]), "breaking", ["~ entities: e -> e, f"]),
        (Entity("e"), Entity("e", "text", labels={"k": "v"}), "compatible", None),
        (Entity("e"), Entity("e", value_type="INT64"), "breaking", ["~ value_type: STRING -> INT64"]),
        (service("t:a"), service("t:a", "t:b"), "compatible", ["+ features.t:b: t:b"]),
        (service("t:a"), service("t:a", owner="o"), "compatible", ["+ owner: o"]),
        (service("t:a", "t:b"), service("t:a"), "breaking", ["- features.t:b: t:b"]),
        (service("t:a", "t:b"), service("t:b", "t:a"), "breaking", None),
        (service("t:a", "t:b"), service("t:a", "t:c", "t:b"), "breaking", None),
    ],
)  # fmt: skip
def test_impacts(before: Definition, after: Definition, impact: str, lines: list[str] | None) -> None:
    found = differences(before, after)
    assert worst(each.impact for each in found) == impact
    if lines is not None:
        assert [str(each) for each in found] == lines


@settings(max_examples=60)
@given(st.one_of(*(st.tuples(kind, kind) for kind in (entities, services, feature_tables()))))
def test_there_are_differences_where_there_is_no_equality(pair: tuple[Any, Any]) -> None:
    before, after = pair
    after.name = before.name
    assert (differences(before, after) == ()) == (before == after)
    assert differences(before, before) == ()
