"""Pushes through the online service, which writes a batch into both stores."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from tiffin.commit import Commit
from tiffin.errors import InvalidData
from tiffin.ingest.batch import OnInvalid, check_options
from tiffin.ingest.input import frames_of
from tiffin.remote.answers import read_as
from tiffin.remote.http import Connection, target_of

if TYPE_CHECKING:
    import polars as pl

    from tiffin.definitions.schema import TableSchema

PATH: Final = "/v1/push"
_ARROW: Final = "application/vnd.apache.arrow.stream"
#: Seconds that a push may take, whatever reads may.
_SECONDS: Final = 600.0


def push(
    connection: Connection, table: TableSchema, source: Any, *, idempotency_key: str | None, on_invalid: OnInvalid
) -> Commit:
    """Send a batch as one request, with exact types.

    It is sent again where the service did not answer, if a key keeps that from storing it twice.
    """
    check_options(idempotency_key, on_invalid)
    frames: list[pl.DataFrame] = []
    texts: dict[str, str] = {}
    for given in frames_of(source, table):
        frames.append(given.frame)
        texts |= dict(given.texts)
    parameters = {
        "project": table.project,
        "table": table.name,
        "on_invalid": on_invalid,
        "texts": msgspec.json.encode(texts).decode(),
    }
    headers = {"idempotency-key": quote(idempotency_key, safe="")} if idempotency_key is not None else {}
    answer = connection.exchange(
        "POST",
        target_of(PATH, parameters),
        body=_stream(frames),
        body_type=_ARROW,
        headers=headers,
        retry=bool(idempotency_key),
        timeout=_SECONDS,
    )
    return read_as(connection.service, answer, Commit)


def _stream(frames: list[pl.DataFrame]) -> bytes:
    import polars as pl

    target = BytesIO()
    try:
        frame = pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame()
    except pl.exceptions.PolarsError as error:
        raise InvalidData(
            f"The parts of the batch differ in their columns: {error}.",
            field="source",
            hint="Give all parts the same columns, or push them one by one.",
        ) from error
    frame.write_ipc_stream(target, compat_level=pl.CompatLevel.newest())
    return target.getvalue()
