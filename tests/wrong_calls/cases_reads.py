"""Wrong questions: training sets and online reads."""

from __future__ import annotations

from tests.wrong_calls.world import Wrong, asked, at
from tiffin.errors import AlreadyExists, InvalidArgument, InvalidReference, NotFound, StorageError, Unsupported

RATING = ["trips:rating"]
ROW = [{"driver_id": 1001}]

REFERENCES = [
    Wrong(
        "an unknown table",
        lambda w: w.client.get_historical_features(["trip:rating"], asked()),
        NotFound,
        ("'trip'", "Did you mean 'trips'"),
    ),
    Wrong(
        "an unknown feature",
        lambda w: w.client.get_historical_features(["trips:ratings"], asked()),
        NotFound,
        ("'ratings'", "Did you mean 'rating'"),
    ),
    Wrong(
        "a reference without a table",
        lambda w: w.client.get_historical_features(["rating"], asked()),
        InvalidReference,
        ("'rating'", "table:feature"),
    ),
    Wrong(
        "a column's name as a reference",
        lambda w: w.client.get_historical_features(["trips__rating"], asked()),
        InvalidReference,
        ("'trips__rating'", "table:feature"),
    ),
    Wrong(
        "no references", lambda w: w.client.get_historical_features([], asked()), InvalidReference, ("at least one",)
    ),
    Wrong(
        "two references of one column",
        lambda w: w.client.get_historical_features(["a__b:c", "a:b__c"], asked()),
        InvalidReference,
        ("a__b:c'", "a:b__c'", "'a__b__c'"),
    ),
    Wrong(
        "an unknown service",
        lambda w: w.client.get_historical_features("matchng", asked()),
        NotFound,
        ("'matchng'", "Did you mean 'matching'"),
    ),
    Wrong(
        "a table of an unknown project",
        lambda w: w.client.get_historical_features(["elsewhere/trips:rating"], asked()),
        NotFound,
        ("'elsewhere'",),
    ),
]

QUESTIONS = [
    Wrong(
        "no key",
        lambda w: w.client.get_historical_features(RATING, asked(driver_id=None, driver=[1])),
        InvalidArgument,
        ("'driver_id'", "'driver'"),
    ),
    Wrong(
        "one key of two",
        lambda w: w.client.get_historical_features(["demand:minutes"], asked()),
        InvalidArgument,
        ("'city'",),
    ),
    Wrong(
        "no time",
        lambda w: w.client.get_historical_features(RATING, asked(event_timestamp=None)),
        InvalidArgument,
        ("'event_timestamp'",),
    ),
    Wrong(
        "a time in words",
        lambda w: w.client.get_historical_features(RATING, asked(event_timestamp=["yesterday"])),
        InvalidArgument,
        ("event_timestamp",),
    ),
    Wrong(
        "a time that is a number",
        lambda w: w.client.get_historical_features(RATING, asked(event_timestamp=[7])),
        InvalidArgument,
        ("event_timestamp",),
    ),
    Wrong(
        "questions on a web server",
        lambda w: w.client.get_historical_features(RATING, "http://127.0.0.1:9/asked.csv"),
        Unsupported,
        ("not http://", "Download the files first"),
    ),
    Wrong(
        "an answer to a web server",
        lambda w: w.client.get_historical_features(RATING, asked(), "http://127.0.0.1:9/out"),
        Unsupported,
        ("not http://",),
    ),
    Wrong(
        "an answer on top of another file",
        lambda w: w.client.get_historical_features(RATING, asked(), str(w.files)),
        AlreadyExists,
        ("is not empty",),
    ),
    Wrong(
        "a key of letters",
        lambda w: w.client.get_historical_features(RATING, asked(driver_id=["abc"])),
        InvalidArgument,
        ("driver_id", "INT64"),
    ),
    Wrong(
        "a fraction as a key",
        lambda w: w.client.get_historical_features(RATING, asked(driver_id=[1.5])),
        InvalidArgument,
        ("driver_id",),
    ),
    Wrong(
        "a column that the answer needs",
        lambda w: w.client.get_historical_features(RATING, asked(trips__rating=[1.0])),
        InvalidArgument,
        ("trips__rating",),
    ),
    Wrong("a list of rows", lambda w: w.client.get_historical_features(RATING, ROW), InvalidArgument, ("list",)),
    Wrong("nothing at all", lambda w: w.client.get_historical_features(RATING, None), InvalidArgument, ("None",)),
    Wrong(
        "a file that is not there",
        lambda w: w.client.get_historical_features(RATING, str(w.files / "no.parquet")),
        NotFound,
        ("no.parquet",),
    ),
    Wrong(
        "half a Parquet file",
        lambda w: w.client.get_historical_features(RATING, str(w.files / "cut.parquet")),
        StorageError,
        ("cut.parquet",),
    ),
    Wrong(
        "an instant in words",
        lambda w: w.client.get_historical_features(RATING, asked(), known_at="yesterday"),
        InvalidArgument,
        ("'yesterday'",),
    ),
    Wrong(
        "what was known, of a table that does not say",
        lambda w: w.client.get_historical_features(["demand:minutes"], asked(city=["x"]), known_at="row"),
        Unsupported,
        ("known_at", "demand"),
    ),
]

ONLINE = [
    Wrong(
        "an unknown table online", lambda w: w.client.get_online_features(["trip:rating"], ROW), NotFound, ("'trips'",)
    ),
    Wrong(
        "an unknown feature online",
        lambda w: w.client.get_online_features(["trips:ratng"], ROW),
        NotFound,
        ("'ratng'", "Did you mean 'rating'"),
    ),
    Wrong(
        "a missing entity",
        lambda w: w.client.get_online_features(RATING, [{"driver": 1001}]),
        InvalidArgument,
        ("'driver_id'", "'driver'"),
    ),
    Wrong(
        "an entity missing in the second row",
        lambda w: w.client.get_online_features(RATING, [{"driver_id": 1}, {"driver": 2}]),
        InvalidArgument,
        ("'driver_id'",),
    ),
    Wrong(
        "a fraction as a key online",
        lambda w: w.client.get_online_features(RATING, [{"driver_id": 1.5}]),
        InvalidArgument,
        ("1.5", "driver_id"),
    ),
    Wrong(
        "letters as a key online",
        lambda w: w.client.get_online_features(RATING, [{"driver_id": "abc"}]),
        InvalidArgument,
        ("'abc'", "driver_id"),
    ),
    Wrong(
        "a key out of range",
        lambda w: w.client.get_online_features(RATING, [{"driver_id": 2**63}]),
        InvalidArgument,
        ("driver_id",),
    ),
    Wrong("a text as rows", lambda w: w.client.get_online_features(RATING, "1001"), InvalidArgument, ("entity_rows",)),
    Wrong(
        "a key as a row", lambda w: w.client.get_online_features(RATING, [1001]), InvalidArgument, ("mapping", "1001")
    ),
    Wrong(
        "a time in words online",
        lambda w: w.client.get_online_features(RATING, [{"driver_id": 1, "event_timestamp": "soon"}]),
        InvalidArgument,
        ("'soon'",),
    ),
    Wrong("no references online", lambda w: w.client.get_online_features([], ROW), InvalidReference, ("at least one",)),
    Wrong(
        "an unknown project online",
        lambda w: w.client.get_online_features(RATING, ROW, project="new"),
        NotFound,
        ("'new'",),
    ),
]

JOBS = [
    Wrong("an unknown job", lambda w: w.client.get_job("42"), NotFound, ("42",)),
    Wrong("times for tables", lambda w: w.client.materialize(at(1), at(5)), InvalidArgument, ("tables", "None, start")),
    Wrong("an unknown table to fill", lambda w: w.client.materialize(["trip"]), NotFound, ("'trip'", "'trips'")),
    Wrong(
        "an end before its start",
        lambda w: w.client.materialize(["trips"], at(5), at(1)),
        InvalidArgument,
        ("start", "end"),
    ),
    Wrong(
        "a start in words", lambda w: w.client.materialize(["trips"], "monday", at(1)), InvalidArgument, ("'monday'",)
    ),
]

CASES = [*REFERENCES, *QUESTIONS, *ONLINE, *JOBS]
