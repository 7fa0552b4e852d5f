"""Wrong batches, and wrong options of a client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.wrong_calls.world import Wrong, at, batch
from tiffin import Client, errors
from tiffin.errors import Conflict, InvalidArgument, InvalidConfig, InvalidData, NotFound, Unsupported


def ahead(**span: int) -> list[datetime]:
    return [datetime.now(UTC) + timedelta(**span)] * 2


ROWS = [
    Wrong("an unknown table", lambda w: w.client.ingest("trip", batch()), NotFound, ("'trip'", "Did you mean 'trips'")),
    Wrong(
        "a missing feature",
        lambda w: w.client.ingest("trips", batch(rating=None)),
        InvalidData,
        ("rating",),
    ),
    Wrong(
        "a misspelt column",
        lambda w: w.client.ingest("trips", batch(rides=None, ride=[1, 2])),
        InvalidData,
        ("rides", "'ride'"),
    ),
    Wrong("a missing key", lambda w: w.client.ingest("trips", batch(driver_id=None)), InvalidData, ("driver_id",)),
    Wrong(
        "a missing event time",
        lambda w: w.client.ingest("trips", batch(event_timestamp=None)),
        InvalidData,
        ("event_timestamp",),
    ),
    Wrong(
        "a missing created time",
        lambda w: w.client.ingest("trips", batch(created_timestamp=None)),
        InvalidData,
        ("created_timestamp",),
    ),
    Wrong("a null key", lambda w: w.client.ingest("trips", batch(driver_id=[None, 1])), InvalidData, ("driver_id",)),
    Wrong(
        "a null event time",
        lambda w: w.client.ingest("trips", batch(event_timestamp=[at(5), None])),
        InvalidData,
        ("event_timestamp", "1"),
    ),
    Wrong(
        "a text as a number", lambda w: w.client.ingest("trips", batch(rating=["good", "4"])), InvalidData, ("rating",)
    ),
    Wrong("a fraction as a count", lambda w: w.client.ingest("trips", batch(rides=[1.5, 2])), InvalidData, ("rides",)),
    Wrong("a count out of range", lambda w: w.client.ingest("trips", batch(rides=[2**31, 2])), InvalidData, ("rides",)),
    Wrong(
        "a number out of range",
        lambda w: w.client.ingest("trips", batch(rating=[1e300, 2.0])),
        InvalidData,
        ("rating",),
    ),
    Wrong(
        "a list as a number", lambda w: w.client.ingest("trips", batch(rating=[[1.0], [2.0]])), InvalidData, ("rating",)
    ),
    Wrong(
        "an expectation that fails",
        lambda w: w.client.ingest("trips", batch(rating=[4.0, 5.5])),
        InvalidData,
        ("rating", "5"),
    ),
    Wrong(
        "an event time in words",
        lambda w: w.client.ingest("trips", batch(event_timestamp=["a", "b"])),
        InvalidData,
        ("event_timestamp",),
    ),
    Wrong(
        "rows from the future",
        lambda w: w.client.push("trips", batch(event_timestamp=ahead(hours=1))),
        InvalidData,
        ("event_timestamp",),
    ),
]

CALLS = [
    Wrong(
        "the same key for other rows",
        lambda w: w.client.ingest("trips", batch(), idempotency_key="first"),
        Conflict,
        ("'first'",),
    ),
    Wrong(
        "a misspelt policy",
        lambda w: w.client.ingest("trips", batch(), on_invalid="ignore"),
        InvalidArgument,
        ("'ignore'", "quarantine"),
    ),
    Wrong("a mapping as rows", lambda w: w.client.ingest("trips", {"driver_id": [1]}), InvalidArgument, ("dict",)),
    Wrong("rows of nothing", lambda w: w.client.ingest("trips", None), InvalidArgument, ("None",)),
    Wrong("a number as rows", lambda w: w.client.push("trips", 7), InvalidArgument, ("int",)),
    Wrong(
        "a file that is not there",
        lambda w: w.client.ingest("trips", str(w.files / "no.parquet")),
        NotFound,
        ("no.parquet",),
    ),
    Wrong(
        "half a Parquet file",
        lambda w: w.client.ingest("trips", str(w.files / "cut.parquet")),
        InvalidData,
        ("cut.parquet",),
    ),
    Wrong(
        "a text named Parquet",
        lambda w: w.client.ingest("trips", str(w.files / "text.parquet")),
        InvalidData,
        ("text.parquet",),
    ),
    Wrong(
        "an empty Parquet file",
        lambda w: w.client.ingest("trips", str(w.files / "empty.parquet")),
        InvalidData,
        ("empty.parquet",),
    ),
    Wrong(
        "a table of a spreadsheet",
        lambda w: w.client.ingest("trips", str(w.files / "notes.xlsx")),
        InvalidArgument,
        (".xlsx", "parquet"),
    ),
    Wrong(
        "a CSV file that lacks columns",
        lambda w: w.client.ingest("trips", str(w.files / "short.csv")),
        InvalidData,
        ("rating",),
    ),
    Wrong(
        "a bucket of an unknown kind",
        lambda w: w.client.ingest("trips", "paper://desk/x.parquet"),
        Unsupported,
        ("paper", "gs://, s3://"),
    ),
    Wrong(
        "a bucket that is more than a URI",
        lambda w: w.client.ingest("trips", "github://desk/x.parquet"),
        Unsupported,
        ("github", "gs://, s3://"),
    ),
    Wrong(
        "files of a web server",
        lambda w: w.client.ingest("trips", "https://127.0.0.1:9/x.parquet"),
        Unsupported,
        ("not https://", "Download the files first"),
    ),
    Wrong(
        "writing to a project that is not there",
        lambda w: w.client.ingest("trips", batch(), project="new"),
        NotFound,
        ("'new'",),
    ),
]

OPTIONS = [
    Wrong("an unknown option", lambda _: Client(hom="x"), InvalidConfig, ("'hom'", "Did you mean 'home'")),
    Wrong("a flag that is none", lambda _: Client(embedded="maybe"), InvalidConfig, ("'maybe'", "embedded")),
    Wrong("a size that is none", lambda _: Client(memory_budget="lots"), InvalidConfig, ("'lots'", "2GB")),
    Wrong(
        "an unknown online store",
        lambda w: Client(home=str(w.folder), online_store="paper://desk").get_online_features(
            ["trips:rating"], [{"driver_id": 1}]
        ),
        errors.TiffinError,
        ("paper",),
    ),
    Wrong(
        "an unknown engine",
        lambda w: Client(home=str(w.folder), offline_store="abacus").materialize_incremental("trips"),
        errors.TiffinError,
        ("abacus",),
    ),
]

CASES = [*ROWS, *CALLS, *OPTIONS]
