"""Wrong definitions and wrong changes to the registry."""

from __future__ import annotations

from datetime import timedelta

from tests.wrong_calls.world import Wrong, source
from tiffin import BigQuerySource, Entity, Feature, FeatureService, FeatureTable, FileSource, ValueType
from tiffin.data_format import AvroFormat, ParquetFormat
from tiffin.definitions.expectation import Between, Matches
from tiffin.errors import (
    BreakingChange,
    FailedPrecondition,
    InvalidArgument,
    InvalidDefinition,
    InvalidReference,
    NotFound,
    ProjectArchived,
)

X = Feature("x", ValueType.INT64)

NAMES = [
    Wrong("a name with a digit first", lambda w: w.client.apply(Entity("1st")), InvalidDefinition, ("'1st'", "digit")),
    Wrong("a name with a dash", lambda w: w.client.apply(Entity("driver-id")), InvalidDefinition, ("'driver-id'",)),
    Wrong("no name", lambda w: w.client.apply(Entity("")), InvalidDefinition, ("entity name", "empty")),
    Wrong(
        "a reserved name",
        lambda w: w.client.apply(w.trips(features=[Feature("event_timestamp", ValueType.INT64)])),
        InvalidDefinition,
        ("reserved", "'event_timestamp'"),
    ),
    Wrong(
        "one name twice", lambda w: w.client.apply(w.trips(features=[X, X])), InvalidDefinition, ("['x']", "distinct")
    ),
    Wrong(
        "a feature named like its key",
        lambda w: w.client.apply(w.trips(features=[Feature("driver_id", ValueType.INT64)])),
        InvalidDefinition,
        ("'driver_id'", "distinct"),
    ),
    Wrong(
        "two contents for one name",
        lambda w: w.client.apply([Entity("boat", "a boat"), Entity("boat", "a ship")]),
        InvalidDefinition,
        ("'boat'", "twice"),
    ),
    Wrong("a project with a space", lambda w: w.client.create_project("my rides"), InvalidDefinition, ("'my rides'",)),
]

TYPES = [
    Wrong("a misspelt type", lambda _: Feature("x", "FLAOT"), InvalidDefinition, ("'FLAOT'", "Did you mean 'FLOAT'")),
    Wrong("an unknown type", lambda _: Feature("x", ValueType.UNKNOWN), InvalidDefinition, ("not a valid ValueType",)),
    Wrong("a Python type", lambda _: Feature("x", float), InvalidDefinition, ("float", "not a valid ValueType")),
    Wrong(
        "a fraction as a key",
        lambda w: w.client.apply(Entity("price", value_type=ValueType.DOUBLE)),
        InvalidDefinition,
        ("DOUBLE", "cannot be a key", "INT64"),
    ),
    Wrong(
        "a list as a key",
        lambda w: w.client.apply(Entity("prices", value_type=ValueType.INT64_LIST)),
        InvalidDefinition,
        ("INT64_LIST", "cannot be a key"),
    ),
    Wrong("a negative maximum age", lambda w: w.trips(max_age=-1), InvalidDefinition, ("max_age", "-1")),
    Wrong("a maximum age in words", lambda w: w.trips(max_age="1 day"), InvalidDefinition, ("'1 day'", "timedelta")),
]

TABLES = [
    Wrong("no entities", lambda w: w.client.apply(w.trips(entities=[])), InvalidDefinition, ("at least one entity",)),
    Wrong("no features", lambda w: w.client.apply(w.trips(features=[])), InvalidDefinition, ("at least one feature",)),
    Wrong("entities as a text", lambda w: w.trips(entities="driver_id"), InvalidDefinition, ("list", "brackets")),
    Wrong("features as texts", lambda w: w.trips(features=["rating"]), InvalidDefinition, ("Feature", "'rating'")),
    Wrong(
        "a path as a source", lambda w: w.trips(batch_source="/data"), InvalidDefinition, ("batch_source", "'/data'")
    ),
    Wrong(
        "Feast's argument ttl",
        lambda w: setattr(w.trips(), "ttl", timedelta(days=1)),
        InvalidDefinition,
        ("'ttl'", "max_age"),
    ),
    Wrong(
        "an unknown entity",
        lambda w: w.client.apply(w.trips(name="shifts", entities=["driver"])),
        NotFound,
        ("'driver'", "'shifts'", "Did you mean 'driver_id'"),
    ),
    Wrong(
        "an expectation on no column",
        lambda w: w.client.apply(w.trips(expectations=[Between("ratin", 0, 5)])),
        InvalidDefinition,
        ("'ratin'",),
    ),
    Wrong(
        "crossed bounds",
        lambda w: w.client.apply(w.trips(expectations=[Between("rating", 5, 0)])),
        InvalidDefinition,
        ("minimum 5", "maximum 0"),
    ),
    Wrong(
        "a broken pattern",
        lambda w: w.client.apply(w.trips(expectations=[Matches("rating", "(")])),
        InvalidDefinition,
        ("'('", "regular expression"),
    ),
]

SOURCES = [
    Wrong("a format by name", lambda _: FileSource("t", "parquet", "/x"), InvalidDefinition, ("'parquet'", "Parquet")),
    Wrong(
        "no event time",
        lambda w: w.client.apply(w.trips(batch_source=FileSource("", ParquetFormat(), "/x"))),
        InvalidDefinition,
        ("event_timestamp_column", "empty"),
    ),
    Wrong(
        "half a table of BigQuery",
        lambda w: w.client.apply(w.trips(batch_source=BigQuerySource("t", "rides.trips"))),
        InvalidDefinition,
        ("'rides.trips'", "project:dataset.table"),
    ),
    Wrong("a broken schema", lambda _: AvroFormat("{").check(), InvalidDefinition, ("AvroFormat", "JSON")),
    Wrong(
        "a mapping that is none",
        lambda w: source(w.folder, "x", field_mapping=["rating"]),
        InvalidDefinition,
        ("field_mapping", "mapping"),
    ),
    Wrong("a misspelt YAML key", lambda w: Entity.from_yaml(w.files / "bad.yaml"), InvalidDefinition, ("valueTyp",)),
    Wrong("a missing YAML file", lambda w: Entity.from_yaml(w.files / "no.yaml"), InvalidDefinition, ("no.yaml",)),
]

CHANGES = [
    Wrong("a text is no definition", lambda w: w.client.apply("features.py"), InvalidDefinition, ("'features.py'",)),
    Wrong("a source is no definition", lambda w: w.client.apply([source(w.folder, "x")]), InvalidDefinition, ("Only",)),
    Wrong(
        "removing a feature",
        lambda w: w.client.apply(w.trips(features=[Feature("rating", ValueType.FLOAT)])),
        BreakingChange,
        ("rides", "allow_breaking=True", "matching"),
    ),
    Wrong(
        "changing a type",
        lambda w: w.client.apply(
            w.trips(features=[Feature("rating", ValueType.DOUBLE), Feature("rides", ValueType.INT32)])
        ),
        BreakingChange,
        ("rating", "allow_breaking=True"),
    ),
    Wrong(
        "changing keys",
        lambda w: w.client.apply(w.trips(entities=["driver_id", "city"])),
        BreakingChange,
        ("entities", "allow_breaking=True"),
    ),
    Wrong(
        "changing an entity's type, although breaking is allowed",
        lambda w: w.client.apply(Entity("driver_id", value_type=ValueType.STRING), allow_breaking=True),
        FailedPrecondition,
        ("INT64", "STRING", "another name"),
    ),
    Wrong(
        "one bad object among good ones",
        lambda w: w.client.apply([Entity("boat"), w.trips(name="shifts", entities=["nobody"])]),
        NotFound,
        ("'nobody'",),
    ),
    Wrong(
        "a service of an unknown feature",
        lambda w: w.client.apply(FeatureService("pay", ["trips:ratings"])),
        NotFound,
        ("'trips:ratings'", "Did you mean 'rating'"),
    ),
    Wrong(
        "a service with one feature twice",
        lambda w: w.client.apply(FeatureService("pay", ["trips:rating", "trips:rating"])),
        InvalidDefinition,
        ("twice",),
    ),
    Wrong("a service of no reference", lambda _: FeatureService("pay", ["rating"]), InvalidReference, ("'rating'",)),
    Wrong("no such table", lambda w: w.client.get_feature_table("trip"), NotFound, ("'trip'", "Did you mean 'trips'")),
    Wrong("no such entity", lambda w: w.client.get_entity("driver"), NotFound, ("'driver'", "'driver_id'")),
    Wrong("no such service", lambda w: w.client.get_feature_service("match"), NotFound, ("'match'", "'matching'")),
    Wrong("no such revision", lambda w: w.client.get_feature_table("trips", revision=7), NotFound, ("7", "trips")),
    Wrong("no such project", lambda w: w.client.list_entities(project="new"), NotFound, ("'new'",)),
    Wrong(
        "deleting what is not there", lambda w: w.client.delete_feature_table("trip"), NotFound, ("'trip'", "'trips'")
    ),
    Wrong("back to no revision", lambda w: w.client.rollback("trips", 9), NotFound, ("9", "trips")),
    Wrong("the history of nothing", lambda w: w.client.history("trip"), NotFound, ("'trip'", "'trips'")),
    Wrong("archiving the default", lambda w: w.client.archive_project("default"), FailedPrecondition, ("default",)),
    Wrong("archiving nothing", lambda w: w.client.archive_project("olde"), NotFound, ("'olde'", "'default'")),
    Wrong(
        "applying to an archive",
        lambda w: w.client.apply(Entity("boat"), project="old"),
        ProjectArchived,
        ("'old'", "archived"),
    ),
    Wrong("a label that is no text", lambda _: Entity("boat", labels={"size": 3}), InvalidDefinition, ("'size': 3",)),
    Wrong(
        "a table of no entity in a new project",
        lambda w: w.client.apply(FeatureTable("t", ["k"], [X]), project="brand-new"),
        NotFound,
        ("'brand-new'",),
    ),
]

CASES = [*NAMES, *TYPES, *TABLES, *SOURCES, *CHANGES]

assert all(issubclass(case.error, InvalidArgument | NotFound | FailedPrecondition) for case in CASES)
