"""YAML: the round trip is exact, and what cannot be read is refused by name."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.definitions.strategies import definitions, feature_tables
from tiffin import Entity, Feature, FeatureService, FeatureTable, FileSource, ValueType
from tiffin.data_format import ParquetFormat
from tiffin.definitions.base import Meta
from tiffin.definitions.definition import Definition
from tiffin.errors import InvalidDefinition


@settings(max_examples=300)
@given(definitions)
def test_the_round_trip_is_exact(definition: Definition) -> None:
    definition.check()
    again = type(definition).from_yaml(definition.to_yaml())
    assert again == definition
    assert vars_of(again) == vars_of(definition)  # stricter than equality: order, meta and types of numbers
    assert again.content_hash() == definition.content_hash()
    assert again.to_yaml() == definition.to_yaml()


@given(definitions)
def test_json_carries_the_same(definition: Definition) -> None:
    spec = msgspec.json.decode(msgspec.json.encode(definition.to_spec()))
    again = type(definition).from_spec(spec, getattr(definition, "meta", None))
    assert vars_of(again) == vars_of(definition)


@given(feature_tables(), st.randoms(use_true_random=False))
def test_the_order_of_entities_features_and_labels_does_not_count(table: FeatureTable, random: Any) -> None:
    other = FeatureTable.from_yaml(table.to_yaml())
    random.shuffle(other.entities)
    random.shuffle(other.features)
    other.labels = dict(reversed(other.labels.items()))
    assert other == table
    assert other.content_hash() == table.content_hash()


@given(definitions, definitions)
def test_hashes_tell_definitions_apart_as_equality_does(one: Definition, other: Definition) -> None:
    if type(one) is type(other):
        assert (one == other) == (one.content_hash() == other.content_hash())
    else:
        assert one != other


def vars_of(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return type(value), [vars_of(getattr(value, name)) for name in value.__struct_fields__]
    if isinstance(value, list):
        return [vars_of(item) for item in value]
    if isinstance(value, dict):
        return [(key, item) for key, item in value.items()]
    return type(value), value


def test_the_form_is_that_of_the_article() -> None:
    table = FeatureTable(
        "driver_statistics",
        ["driver_id"],
        [Feature("acc_rate", ValueType.FLOAT, labels={"unit": "m/s²"})],
        batch_source=FileSource("datetime", ParquetFormat(), "gs://b/d", created_timestamp_column="created"),
        max_age=timedelta(hours=1),
        meta=Meta(revision=2, created=1_000_000, updated=1_500_000, hash="ab"),
    )
    assert yaml.safe_load(table.to_yaml()) == {
        "kind": "FeatureTable",
        "spec": {
            "name": "driver_statistics",
            "entities": ["driver_id"],
            "features": [{"name": "acc_rate", "valueType": "FLOAT", "labels": {"unit": "m/s²"}}],
            "batchSource": {
                "type": "BATCH_FILE",
                "eventTimestampColumn": "datetime",
                "fileFormat": {"type": "parquet"},
                "fileUrl": "gs://b/d",
                "createdTimestampColumn": "created",
            },
            "maxAge": "3600s",
        },
        "meta": {
            "revision": 2,
            "created": "1970-01-01T00:00:01Z",
            "updated": "1970-01-01T00:00:01.500000Z",
            "hash": "ab",
        },
    }
    assert "²" in table.to_yaml()


def test_snake_case_and_plain_names_of_types_are_read() -> None:
    text = """
spec:
  name: t
  entities: [driver_id]
  features:
  - {name: a, dtype: float}
  - {name: b, value_type: INT64_LIST}
  max_age: 90
  batch_source:
    type: BATCH_FILE
    event_timestamp_column: ts
    file_format: {type: parquet}
    file_url: x
    field_mapping: {a: some_column}
"""
    table = FeatureTable.from_yaml(text)
    assert [feature.dtype for feature in table.features] == [ValueType.FLOAT, ValueType.INT64_LIST]
    assert table.max_age == timedelta(seconds=90)
    assert table.batch_source == FileSource("ts", ParquetFormat(), "x", field_mapping={"a": "some_column"})


@pytest.mark.parametrize(("written", "span"), [("3600s", 3600), ("0.5s", 0.5), ('"7"', 7), ("86400", 86400), ("0s", 0)])
def test_spans_are_seconds(written: str, span: float) -> None:
    text = f"spec: {{name: t, entities: [e], features: [{{name: f, valueType: BOOL}}], maxAge: {written}}}"
    assert FeatureTable.from_yaml(text).max_age == (timedelta(seconds=span) or None)


@pytest.mark.parametrize("name", ["e.yaml", "e.yml"])
def test_a_path_is_read(tmp_path: Path, name: str) -> None:
    entity = Entity("driver_id", "who", ValueType.INT64)
    (tmp_path / name).write_text(entity.to_yaml())
    assert Entity.from_yaml(tmp_path / name) == Entity.from_yaml(str(tmp_path / name)) == entity


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spec: {name: a, valueTyp: INT64}", "valueTyp"),
        ("spec: {name: a, valueType: INT46}", "Did you mean 'INT64'"),
        ("spec: {name: a, valueType: UNKNOWN}", "not a valid ValueType"),
        ("spec: {name: 5}", "str"),
        ("spec: {description: a}", "name"),
        ("spec: [1]", "must be a mapping"),
        ("kind: FeatureTable\nspec: {name: a}", "'FeatureTable', not 'Entity'"),
        ("kind: Entity\nspec: {name: a}\nstatus: 1", "'status'"),
        ("name: a\nvalueType: INT64", "'spec'"),
        ("spec: {name: a}\n---\nspec: {name: b}", "found 2"),
        ("", "found 0"),
        ("spec: {name: [}", "not YAML"),
        ("spec: {name: a}\nmeta: {revision: x}", "meta"),
        ("spec: {name: a}\nmeta: {created: yesterday}", "meta.created"),
        ("spec: {name: a}\nmeta: 5", "meta must be a mapping"),
        ("spec: {name: a, name: b}", "'name' stands twice"),
        ("[" * 3000, "nested too deeply"),
        ("spec: !!python/object/apply:os.system [ls]", "not YAML"),
        ("spec: {name: a, labels: {b: 1}}", "labels"),
        ("no.yaml", "No such file"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(InvalidDefinition, match=words):
        Entity.from_yaml(text)


def test_giant_numbers_are_refused() -> None:
    text = "spec: {name: t, entities: [e], features: [{name: f, valueType: BOOL}], maxAge: %s}"
    for written in ("9" * 40, "999999999999999s", "-5s", "1 day"):
        with pytest.raises(InvalidDefinition):
            FeatureTable.from_yaml(text % written)


def test_a_service_keeps_the_order_of_its_features() -> None:
    service = FeatureService("m", ["b:y", "a:x", "other/a:x"])
    assert FeatureService.from_yaml(service.to_yaml()).features == ["b:y", "a:x", "other/a:x"]
    assert service != FeatureService("m", ["a:x", "b:y", "other/a:x"])
