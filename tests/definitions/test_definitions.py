"""Rules of names and types: wrong types are refused when given, wrong names and combinations by check()."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin import (
    BigQuerySource,
    Entity,
    Feature,
    FeatureRef,
    FeatureService,
    FeatureTable,
    FileSource,
    KafkaSource,
    KinesisSource,
    ValueType,
)
from tiffin.data_format import AvroFormat, DeltaFormat, JsonFormat, ParquetFormat, ProtoFormat
from tiffin.definitions.base import Meta
from tiffin.definitions.definition import Definition
from tiffin.definitions.expectation import Between, InSet, Matches, NotNull, UniqueKeyAndTime
from tiffin.errors import InvalidDefinition, InvalidReference, NameWarning

AVRO = '{"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}]}'
FEATURE = Feature("f", ValueType.FLOAT)


def table(**changes: Any) -> FeatureTable:
    attributes: dict[str, Any] = {"name": "t", "entities": ["e"], "features": [FEATURE]}
    return FeatureTable(**attributes | changes)


def file_source(**changes: Any) -> FileSource:
    attributes: dict[str, Any] = {"event_timestamp_column": "ts", "file_format": ParquetFormat(), "file_url": "x"}
    return FileSource(**attributes | changes)


@pytest.mark.parametrize("name", ["a", "_", "A9_b", "x" * 255])
def test_good_names(name: str) -> None:
    for good in (Entity(name), table(name=name), FeatureService(name, ["t:f"]), table(entities=[name])):
        assert good.is_valid()
    Feature(name, ValueType.BOOL).check()


@pytest.mark.parametrize("name", ["", "9a", "a-b", "a b", "a\n", "é", "a.b", "t:f", "*", " a", "x" * 256])
def test_bad_names(name: str) -> None:
    bad: list[Any] = [
        Entity(name),
        table(name=name),
        table(entities=[name]),
        table(features=[Feature(name, ValueType.BOOL)]),
        FeatureService(name, ["t:f"]),
    ]
    for each in bad:
        with pytest.raises(InvalidDefinition) as caught:
            each.check()
        assert caught.value.field == "name"
        with pytest.raises(ValueError):
            each.is_valid()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"entities": []}, "at least one entity"),
        ({"features": []}, "at least one feature"),
        ({"entities": ["e", "e"]}, "distinct"),
        ({"features": [FEATURE, FEATURE]}, "distinct"),
        ({"entities": ["f"]}, "distinct"),
        ({"labels": {"": "x"}}, "empty key"),
        ({"features": [Feature("f", ValueType.BOOL, labels={"": ""})]}, "empty key"),
        ({"entities": ["event_timestamp"]}, "reserved"),
        ({"features": [Feature("created_timestamp", ValueType.BOOL)]}, "reserved"),
        ({"features": [Feature("_row", ValueType.BOOL)]}, "reserved"),
        ({"expectations": [NotNull("g")]}, "'g'"),
        ({"expectations": [Between("f")]}, "minimum or a maximum"),
        ({"expectations": [Between("f", 2, 1)]}, "greater than maximum"),
        ({"expectations": [InSet("f", [])]}, "needs values"),
        ({"expectations": [Matches("f", "[")]}, "not a regular expression"),
        ({"batch_source": file_source(event_timestamp_column="")}, "event_timestamp_column"),
        ({"batch_source": file_source(file_url="")}, "file_url"),
        ({"batch_source": file_source(file_format=DeltaFormat(-1))}, "negative"),
        ({"batch_source": file_source(field_mapping={"f": " "})}, "field_mapping"),
        ({"batch_source": file_source(field_mapping={"": "a"})}, "field_mapping"),
        ({"batch_source": BigQuerySource("ts", "project.set.table")}, "project:dataset.table"),
        ({"batch_source": BigQuerySource("ts", "p:d.t;drop")}, "project:dataset.table"),
        ({"stream_source": KafkaSource("ts", "", JsonFormat(), "topic")}, "bootstrap_servers"),
        ({"stream_source": KafkaSource("ts", "b:1", JsonFormat(), "")}, "topic"),
        ({"stream_source": KafkaSource("ts", "b:1", AvroFormat("{"), "t")}, "not JSON"),
        ({"stream_source": KafkaSource("ts", "b:1", AvroFormat('{"type": "int"}'), "t")}, "record"),
        ({"stream_source": KafkaSource("ts", "b:1", ProtoFormat("a b"), "t")}, "dotted names"),
        ({"stream_source": KinesisSource("ts", "c", JsonFormat(), "", "s")}, "region"),
        ({"stream_source": KinesisSource("ts", "", JsonFormat(), "r", "s")}, "created_timestamp_column"),
    ],
)
def test_rules_of_tables(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidDefinition, match=words):
        table(**given).check()


@pytest.mark.parametrize("name", ["datetime", "ingestion_id", "job_id"])
def test_names_that_other_systems_reserve_are_allowed_with_a_warning(name: str) -> None:
    with pytest.warns(NameWarning, match=name):
        table(features=[Feature(name, ValueType.STRING)]).check()


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Entity, (5,)),
        (Entity, ("a", 5)),
        (Entity, ("a", "", "INT")),
        (Entity, ("a", "", ValueType.UNKNOWN)),
        (Entity, ("a", "", True)),
        (Entity, ("a", "", 9)),
        (Entity, ("a", "", "INT64", {"a": 1})),
        (Entity, ("a", "", "INT64", ["a"])),
        (Entity, ("a\x00",)),
        (Entity, ("a", "half a pair: \ud800")),
        (Entity, ("a", "", "INT64", {"a": "\ud800"})),
        (Entity, ("a", "", "INT64", {}, {"revision": 1})),
        (Feature, ("f", float)),
        (Feature, ("f", "FLAOT")),
        (FeatureTable, ("t", "e", [FEATURE])),
        (FeatureTable, ("t", [5], [FEATURE])),
        (FeatureTable, ("t", ["e"], FEATURE)),
        (FeatureTable, ("t", ["e"], ["f"])),
        (FeatureTable, ("t", ["e"], [FEATURE], "path")),
        (FeatureTable, ("t", ["e"], [FEATURE], KafkaSource("ts", "b", JsonFormat(), "t"))),
        (FeatureTable, ("t", ["e"], [FEATURE], None, file_source())),
        (FeatureTable, ("t", ["e"], [FEATURE], None, None, "1h")),
        (FeatureTable, ("t", ["e"], [FEATURE], None, None, -1)),
        (FeatureTable, ("t", ["e"], [FEATURE], None, None, True)),
        (FeatureTable, ("t", ["e"], [FEATURE], None, None, float("nan"))),
        (FeatureTable, ("t", ["e"], [FEATURE], None, None, float("inf"))),
        (FeatureTable, ("t", ["e"], [FEATURE], None, None, timedelta.max)),
        (FeatureService, ("s", "t:f")),
        (FileSource, ("ts", "parquet", "x")),
        (FileSource, ("ts", JsonFormat(), "x")),
        (FileSource, ("ts", ParquetFormat(), 5)),
        (FileSource, ("ts", ParquetFormat(), "x", "", ["f"])),
        (KafkaSource, ("ts", "b", ParquetFormat(), "t")),
        (DeltaFormat, ("1",)),
        (DeltaFormat, (True,)),
        (AvroFormat, (5,)),
        (Between, ("f", "0")),
        (Between, ("f", float("nan"))),
        (Between, ("f", 0, float("inf"))),
        (Between, ("f", 2**63)),
        (InSet, ("f", "abc")),
        (InSet, ("f", [None])),
        (InSet, ("f", [float("nan")])),
        (NotNull, (5,)),
        (Matches, ("f", 5)),
    ],
)
def test_wrong_types_are_refused_when_given(kind: type, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidDefinition):
        kind(*arguments)


def test_a_reference_that_cannot_be_read_is_refused_when_given() -> None:
    for bad in ("f", "t:f:g", "t f", 5):
        with pytest.raises(InvalidReference):
            FeatureService("s", [bad])  # type: ignore[list-item]


def test_types_are_read_by_member_name_and_number() -> None:
    assert Entity("a", value_type="int64").value_type is Entity("a", value_type=4).value_type is ValueType.INT64
    assert Feature("f", "double_list").dtype is ValueType.DOUBLE_LIST


@pytest.mark.parametrize("value_type", ["FLOAT", "DOUBLE", "INT64_LIST"])
def test_fractions_and_lists_cannot_be_keys(value_type: str) -> None:
    with pytest.raises(InvalidDefinition, match=value_type):
        Entity("a", value_type=value_type).check()


@pytest.mark.parametrize(
    ("given", "span"),
    [
        (None, None),
        (0, None),
        (timedelta(0), None),
        (90, timedelta(seconds=90)),
        (0.25, timedelta(milliseconds=250)),
        (timedelta(days=2), timedelta(days=2)),
        (SimpleNamespace(seconds=5, nanos=7_000), timedelta(seconds=5, microseconds=7)),
        (SimpleNamespace(seconds=0), None),
    ],
)
def test_max_age_takes_spans_of_every_make(given: Any, span: timedelta | None) -> None:
    assert table(max_age=given).max_age == span


def test_an_entity_gives_its_name() -> None:
    assert table(entities=[Entity("driver_id"), "plane_id"]).entities == ["driver_id", "plane_id"]


def test_attributes_may_be_reassigned_and_are_checked() -> None:
    entity = Entity("a")
    entity.value_type = "INT64"
    assert entity.value_type is ValueType.INT64
    with pytest.raises(InvalidDefinition, match="'value_typ' of Entity does not exist"):
        entity.value_typ = "INT64"
    with pytest.raises(InvalidDefinition, match="cannot be set"):
        entity.created_timestamp = 5
    with pytest.raises(InvalidDefinition):
        entity.labels = ["a"]


def test_changes_in_place_are_checked_too() -> None:
    changed = table(labels={"a": "b"})
    changed.features.append("g")  # type: ignore[arg-type]
    with pytest.raises(InvalidDefinition, match="'g'"):
        changed.check()
    changed = table()
    changed.labels["a"] = 5  # type: ignore[assignment]
    with pytest.raises(InvalidDefinition, match="labels"):
        changed.check()


def test_arguments_are_copied() -> None:
    labels, features = {"a": "b"}, [FEATURE]
    made = table(labels=labels, features=features)
    labels["c"] = "d"
    features.append(FEATURE)
    assert (made.labels, len(made.features)) == ({"a": "b"}, 1)


def test_add_feature_appends() -> None:
    changed = table()
    changed.add_feature(Feature("g", ValueType.BOOL))
    assert [feature.name for feature in changed.features] == ["f", "g"]


def test_equality_is_by_value_and_content() -> None:
    assert Entity("a", meta=Meta(revision=5)) == Entity("a")
    assert not Entity("a") != Entity("a")  # noqa: SIM202  (the operator is what is tested)
    assert Entity("a") != Entity("a", "described")
    assert Entity("a") != FeatureService("a", ["t:f"])
    assert file_source() != file_source(created_timestamp_column="c")
    assert file_source() != None  # noqa: E711  (a comparison that Feast answers with an error)
    assert table(expectations=[UniqueKeyAndTime()]) != table()
    for unhashable in (Entity("a"), table(), file_source(), FEATURE):
        with pytest.raises(TypeError):
            hash(unhashable)


def test_timestamps_come_from_meta() -> None:
    assert (Entity("a").created_timestamp, Entity("a").last_updated_timestamp) == (None, None)
    entity = Entity("a", meta=Meta(revision=1, created=1_000_000, updated=2_000_000))
    assert (entity.created_timestamp.timestamp(), entity.last_updated_timestamp.timestamp()) == (1, 2)  # type: ignore[union-attr]


def test_a_bare_definition_cannot_be_registered() -> None:
    with pytest.raises(InvalidDefinition, match="cannot be registered"):
        Definition().check()


@given(st.sampled_from(list(ValueType)))
def test_lists_know_their_element(value_type: ValueType) -> None:
    assert value_type.is_list == value_type.name.endswith("_LIST")
    assert value_type.element.name == value_type.name.removesuffix("_LIST")


def test_references_are_read_and_written() -> None:
    for text in ("t:f", "my-project/t:f"):
        assert str(FeatureRef.from_str(text)) == text
    assert FeatureRef.from_str(" t:f ") == FeatureRef("f", "t")
    assert FeatureRef.from_str("p/t:f").column == "t__f"
    assert len({FeatureRef("f", "t"), FeatureRef.from_str("t:f")}) == 1
    for bad in ("", ":", "t:", ":f", "/t:f", "p/q/t:f", "9p/t:f", "t:f ,u:g", "t::f"):
        with pytest.raises(InvalidReference):
            FeatureRef.from_str(bad)
