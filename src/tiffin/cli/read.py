"""``tiffin get-historical-features`` and ``get-online-features``."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiffin.cli.progress import watch
from tiffin.cli.session import Session, command, group
from tiffin.errors import InvalidArgument

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType

app = group("", "")

_Features = Annotated[
    list[str],
    typer.Option(
        "--features", "-f", metavar="REFS", help="table:feature, several with commas; or the name of a feature service."
    ),
]


@command(
    app,
    "get-historical-features",
    example="tiffin get-historical-features -f trip_completion -e data/trips.csv -o training\n"
    "tiffin get-historical-features -f driver_statistics:rating,driver_statistics:trips_today -e data/trips.csv",
)
def get_historical_features(
    session: Session,
    features: _Features,
    entities: Annotated[
        str,
        typer.Option(
            "--entities",
            "-e",
            metavar="PATH",
            help="Keys with event_timestamp: Parquet, CSV or JSON lines, path or URI.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="DEST", help="Folder or URI for the part-*.parquet; else a new one."),
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help='As it was known then (ISO 8601, UTC), or "row": as each row\'s own time knew.'
        ),
    ] = None,
) -> None:
    """Build a training set, correct at every row's time.

    Every row gets the features as they stood at its event_timestamp, and all of its own columns.
    """
    job = session.client.get_historical_features(read_refs(features), entities, output, known_at=known_at)
    watch(job, f"Joining {', '.join(job.tables)}")
    uri = job.get_output_file_uri()
    rows = job.record.outcome.written
    parts = _parts(uri)
    data = {"job": job.get_id(), "output": uri, "rows": rows, "columns": parts.collect_schema().names()}

    def view() -> list[RenderableType]:
        from tiffin.cli.read_view import training_set

        return training_set(parts, rows, uri)

    session.answer(data, view)


def _parts(uri: str) -> pl.LazyFrame:
    """A training set as it was written; all of it may be too large to look at."""
    import polars as pl

    from tiffin.offline.location import list_parquet, normalise

    return pl.scan_parquet([found.path for found in list_parquet(normalise(uri))], glob=False)


@command(
    app,
    "get-online-features",
    example="tiffin get-online-features -f trip_completion -k driver_id=1001,1002\n"
    "tiffin get-online-features -f driver_statistics:rating -k driver_id=1001 --json",
)
def get_online_features(
    session: Session,
    features: _Features,
    key: Annotated[
        list[str],
        typer.Option(
            "--key", "-k", metavar="ENTITY=VALUES", help="Values with commas; once for every entity that is needed."
        ),
    ],
) -> None:
    """Look up the latest values of keys.

    Each value comes with a status: PRESENT, NULL_VALUE, NOT_FOUND or OUTSIDE_MAX_AGE.
    """
    response = session.client.get_online_features(read_refs(features), read_keys(key), project=session.project)
    data = {
        "values": response.to_dict(),
        "statuses": {name: [status.value for status in found] for name, found in response.statuses().items()},
        "event_timestamps": response.event_timestamps(),
    }

    def view() -> list[RenderableType]:
        from tiffin.cli.read_view import online_answer

        return online_answer(response)

    session.answer(data, view)


def read_refs(texts: Sequence[str]) -> list[str] | str:
    """References of ``-f``: a list, or the name of one feature service."""
    refs = [ref.strip() for text in texts for ref in text.split(",") if ref.strip()]
    services = [ref for ref in refs if ":" not in ref]
    if len(services) == 1 == len(refs):
        return services[0]
    if services:
        raise InvalidArgument(
            f"{services[0]!r} is not a feature reference.",
            field="features",
            hint="Write table:feature, several with commas, or a feature service alone.",
        )
    return refs


def read_keys(texts: Sequence[str]) -> list[Mapping[str, Any]]:
    """Entity rows of ``-k``: columns of equal length; one value stands for all rows. Quotes protect commas."""
    columns: dict[str, list[str]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not name.strip():
            raise InvalidArgument(f"{text!r} names no entity.", field="key", hint="Write -k driver_id=1001,1002.")
        columns.setdefault(name.strip(), []).extend(next(csv.reader([values], skipinitialspace=True), []))
    count = max(map(len, columns.values()), default=0)
    for name, column in columns.items():
        if len(column) not in (1, count):
            raise InvalidArgument(
                f"{name} has {len(column)} values, another entity {count}.",
                field="key",
                hint="Give each entity as many values, or one for all rows.",
            )
    return [{name: column[min(row, len(column) - 1)] for name, column in columns.items()} for row in range(count)]
