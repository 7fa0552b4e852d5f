"""Snapshots: lookups, schemas and selections, and that nobody can change one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tiffin import BigQuerySource, Entity, Feature, FeatureRef, FeatureService, FeatureTable, FileSource, KafkaSource
from tiffin.data_format import DeltaFormat, JsonFormat, ParquetFormat
from tiffin.definitions.expectation import NotNull
from tiffin.definitions.schema import Column
from tiffin.errors import InvalidArgument, InvalidReference, NotFound
from tiffin.registry.memory import MemoryRegistry
from tiffin.registry.registry import Registry
from tiffin.registry.snapshot import Snapshot
from tiffin.types import ValueType

PLACES: dict[str, Any] = {"managed_root": "/managed", "root": "/root"}


def features(*names: str) -> list[Feature]:
    return [Feature(name, ValueType.FLOAT) for name in names]


@pytest.fixture
def registry() -> Registry:
    registry = Registry(MemoryRegistry(), recheck=0)
    mapping = {"driver_id": "id", "rate": "accepted / offered"}
    source = FileSource("at", ParquetFormat(), "data/trips", "made", field_mapping=mapping, date_partition_column="day")
    registry.apply(
        [
            Entity("driver_id", value_type=ValueType.INT64, labels={"team": "a", "tier": "1"}),
            Entity("city", labels={"team": "a"}),
            FeatureTable(
                "trips",
                ["driver_id", "city"],
                features("rate", "count"),
                source,
                max_age=timedelta(hours=1),
                deleted_column="gone",
                expectations=[NotNull("rate")],
            ),
            FeatureTable("managed", ["city"], features("a", "b__c")),
            FeatureTable("managed__b", ["city"], features("c")),
            FeatureTable(
                "streamed",
                ["city"],
                features("a"),
                stream_source=KafkaSource("at", "b:1", JsonFormat(), "topic", "made", field_mapping={"a": "x"}),
            ),
            FeatureService("model", ["trips:count", "managed:a", "trips:rate"]),
        ]
    )
    registry.apply([Entity("city"), FeatureTable("trips", ["city"], features("rate"))], "other-one")
    return registry


@pytest.fixture
def snapshot(registry: Registry) -> Snapshot:
    return registry.snapshot()


def test_objects_are_found_by_kind_name_and_labels(snapshot: Snapshot) -> None:
    assert snapshot.entity("driver_id").value_type is ValueType.INT64
    assert snapshot.feature_table(" trips ").entities == ["driver_id", "city"]
    assert snapshot.feature_service("model").features[0] == "trips:count"
    assert [each.name for each in snapshot.objects(Entity)] == ["city", "driver_id"]
    assert [each.name for each in snapshot.objects(Entity, labels={"team": "a", "tier": "1"})] == ["driver_id"]
    assert snapshot.objects(Entity, labels={"team": "b"}) == []
    assert [each.name for each in snapshot.objects(FeatureTable, "other-one")] == ["trips"]
    meta = snapshot.entity("city").meta
    assert meta is not None
    assert (meta.revision, meta.hash) == (1, Entity("city", labels={"team": "a"}).content_hash())


def test_what_is_unknown_names_the_closest(snapshot: Snapshot) -> None:
    with pytest.raises(NotFound, match=r"no feature table 'trip' in project 'default'\. Did you mean 'trips'"):
        snapshot.feature_table("trip")
    with pytest.raises(NotFound, match=r"no project 'other'.*'other-one'"):
        snapshot.entity("city", "other")
    with pytest.raises(NotFound, match="no project"):
        snapshot.objects(Entity, "nowhere")
    with pytest.raises(InvalidArgument, match="must be a text"):
        snapshot.entity(5)  # type: ignore[arg-type]


def test_nobody_can_change_a_snapshot(snapshot: Snapshot) -> None:
    for table in (snapshot.feature_table("trips"), snapshot.objects(FeatureTable)[-1]):
        table.features.clear()
        table.labels["x"] = "y"
        assert table.batch_source is not None
        table.batch_source.field_mapping.clear()
        table.batch_source.event_timestamp_column = "other"
    again = snapshot.feature_table("trips")
    assert (len(again.features), again.labels) == (2, {})
    assert snapshot.schema("trips", **PLACES).event_column == "at"


def test_later_changes_do_not_reach_it(registry: Registry, snapshot: Snapshot) -> None:
    registry.apply(FeatureTable("managed__b", ["city"], features("c", "d")))
    registry.delete(FeatureTable, "streamed")
    assert [each.name for each in snapshot.feature_table("managed__b").features] == ["c"]
    assert snapshot.feature_table("streamed")
    later = registry.snapshot()
    assert later.version == snapshot.version + 2
    assert [each.name for each in later.feature_table("managed__b").features] == ["c", "d"]


def test_a_schema_is_complete(snapshot: Snapshot) -> None:
    schema = snapshot.schema("trips", **PLACES)
    assert (schema.project, schema.name, schema.max_age) == ("default", "trips", 3_600_000_000)
    assert schema.keys == (Column("driver_id", ValueType.INT64, "id"), Column("city", ValueType.STRING, "city"))
    assert schema.features == (
        Column("rate", ValueType.FLOAT, "accepted / offered"),
        Column("count", ValueType.FLOAT, "count"),
    )
    assert (schema.event_column, schema.created_column, schema.partition_column) == ("at", "made", "day")
    assert (schema.deleted_column, schema.expectations) == ("gone", (NotNull("rate"),))
    assert isinstance(schema.source, FileSource)
    assert schema.source.file_url == "/root/data/trips"
    assert snapshot.schema("trips", **PLACES) is schema
    assert snapshot.schema("trips", "other-one", **PLACES).keys == (Column("city", ValueType.STRING, "city"),)


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("/a/b", "/a/b"),
        ("a/b/*.parquet", "/root/a/b/*.parquet"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("file:///a", "file:///a"),
        ("~/a", str(Path("~/a").expanduser())),
    ],
)
def test_relative_places_are_meant_from_the_root(registry: Registry, url: str, absolute: str) -> None:
    source = FileSource("at", DeltaFormat(), url)
    registry.apply(FeatureTable("placed", ["city"], features("f"), source))
    schema = registry.snapshot().schema("placed", **PLACES)
    assert schema.source == FileSource("at", DeltaFormat(), absolute)
    assert registry.get(FeatureTable, "placed").batch_source == source


def test_a_table_without_a_batch_source_is_managed(snapshot: Snapshot, monkeypatch: Any, tmp_path: Path) -> None:
    assert snapshot.schema("managed", **PLACES).source == FileSource(
        "event_timestamp", ParquetFormat(), "/managed/default/managed"
    )
    streamed = snapshot.schema("streamed", **PLACES)
    assert streamed.source == FileSource("at", ParquetFormat(), "/managed/default/streamed", "made")
    assert streamed.features[0].expression == "a"
    monkeypatch.chdir(tmp_path)
    place = snapshot.schema("managed", managed_root="gs://bucket/x/").source
    assert place == FileSource("event_timestamp", ParquetFormat(), "gs://bucket/x/default/managed")
    relative = snapshot.schema("managed", managed_root=Path("x")).source
    assert relative == FileSource("event_timestamp", ParquetFormat(), f"{tmp_path}/x/default/managed")


def test_other_sources_are_handed_on_as_they_are(registry: Registry) -> None:
    source = BigQuerySource("at", "p:d.t")
    registry.apply(FeatureTable("warehouse", ["city"], features("f"), source))
    assert registry.snapshot().schema("warehouse", **PLACES).source == source


def test_a_selection_takes_each_table_once_and_keeps_the_order_of_the_request(snapshot: Snapshot) -> None:
    selections, columns = snapshot.select(["trips:count", "managed:a", "trips:rate", "trips:count"], **PLACES)
    assert columns == ("trips__count", "managed__a", "trips__rate")
    assert [(each.table.name, [c.name for c in each.features], each.output) for each in selections] == [
        ("trips", ["count", "rate"], ("trips__count", "trips__rate")),
        ("managed", ["a"], ("managed__a",)),
    ]
    assert selections[0].features[1].expression == "accepted / offered"
    for same in ("model", snapshot.feature_service("model"), [FeatureRef.from_str(r) for r in columns_of("model")]):
        assert snapshot.select(same, **PLACES) == (selections, columns)
    assert snapshot.select("trips:count", **PLACES)[1] == ("trips__count",)
    assert snapshot.select(iter(["trips:count"]), **PLACES)[1] == ("trips__count",)  # type: ignore[arg-type]


def columns_of(_: str) -> list[str]:
    return ["trips:count", "managed:a", "trips:rate"]


def test_a_selection_may_read_other_projects(snapshot: Snapshot) -> None:
    selections, columns = snapshot.select(["other-one/trips:rate", "managed:a", "default/managed:a"], **PLACES)
    assert columns == ("trips__rate", "managed__a")
    assert [(each.table.project, each.table.name) for each in selections] == [
        ("other-one", "trips"),
        ("default", "managed"),
    ]
    assert snapshot.select(["trips:rate"], "other-one", **PLACES)[0][0].table.project == "other-one"


@pytest.mark.parametrize(
    "refs", [["managed:b__c", "managed__b:c"], ["trips:rate", "other-one/trips:rate"], ["managed:a", "x", "trips:rate"]]
)
def test_references_that_collide_or_cannot_be_read_are_refused(snapshot: Snapshot, refs: list[str]) -> None:
    with pytest.raises(InvalidReference):
        snapshot.select(refs, **PLACES)


@pytest.mark.parametrize(
    ("refs", "words"),
    [
        (["trips:rat"], r"'trips' of project 'default' has no feature 'rat'\. Did you mean 'rate'"),
        (["trip:rate"], "Did you mean 'trips'"),
        (["nowhere/trips:rate"], "no project 'nowhere'"),
        ("mode", "no feature service 'mode'.*Did you mean 'model'"),
    ],
)
def test_unknown_references_name_the_closest(snapshot: Snapshot, refs: Any, words: str) -> None:
    with pytest.raises(NotFound, match=words):
        snapshot.select(refs, **PLACES)


def test_an_empty_request_is_refused(snapshot: Snapshot) -> None:
    with pytest.raises(InvalidReference, match="No features"):
        snapshot.select([], **PLACES)
