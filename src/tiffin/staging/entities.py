"""Stage entities: write a frame of entity rows where an engine that is not in this process can read it.

In this process a frame can be handed to :meth:`tiffin.Client.get_historical_features` as it is.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any, Final

from tiffin.definitions.format import ParquetFormat
from tiffin.definitions.source import BigQuerySource, FileSource
from tiffin.errors import InvalidData, StorageError, Unsupported, closest

#: The column of instants that a staged frame must have.
TIMESTAMP_COLUMN: Final = "event_timestamp"


def stage_entities_to_fs(entity_source: Any, staging_location: str, config: object = None) -> FileSource:
    """Write a pandas, Polars or Arrow frame as Parquet to a new name below ``staging_location``, a folder or bucket.

    The frame needs the column ``event_timestamp`` of instants, naive ones in UTC, which keep their microseconds; the
    frame itself is not changed. ``config`` is accepted for programs written for Feast, an instance or the class.
    """
    from tiffin.frames import lazy_frame

    frame = lazy_frame(entity_source, field="entity_source").collect()
    if TIMESTAMP_COLUMN not in frame.columns:
        raise InvalidData(
            f"The entity source has no column {TIMESTAMP_COLUMN!r}.",
            field=TIMESTAMP_COLUMN,
            hint=closest(TIMESTAMP_COLUMN, frame.columns),
        )
    if not frame.schema[TIMESTAMP_COLUMN].is_temporal():
        raise InvalidData(
            f"Column {TIMESTAMP_COLUMN!r} holds {frame.schema[TIMESTAMP_COLUMN]}, not instants.",
            field=TIMESTAMP_COLUMN,
            hint="Convert it first: pandas.to_datetime, or polars' str.to_datetime.",
        )
    uri = f"{staging_location.rstrip('/')}/{uuid.uuid4().hex}"
    local = "://" not in uri
    if local:
        uri = str(Path(uri).expanduser().absolute())  # it must mean the same from wherever it is read
    try:
        frame.write_parquet(uri, mkdir=local)
    except OSError as error:
        raise StorageError(
            f"The entities cannot be written to {uri!r}: {error}.",
            field="staging_location",
            hint="Name a folder or bucket that can be written.",
        ) from error
    return FileSource(event_timestamp_column=TIMESTAMP_COLUMN, file_format=ParquetFormat(), file_url=uri)


def stage_entities_to_bq(entity_source: Any, project: str, dataset: str) -> BigQuerySource:
    """Write a frame as a table of BigQuery: refused, since this version is not connected to BigQuery."""
    raise Unsupported(
        f"Staging entities in the BigQuery dataset {project}.{dataset} is not supported in this version.",
        hint="Use stage_entities_to_fs, or hand the frame itself to get_historical_features.",
    )
