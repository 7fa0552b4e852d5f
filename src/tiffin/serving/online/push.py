"""Pushes of Tiffin's own clients: rows as an Arrow stream, with exact types."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl

import msgspec

from tiffin.errors import InvalidArgument, InvalidData

if TYPE_CHECKING:
    from tiffin.ingest.text import Given


class StreamPush(msgspec.Struct, forbid_unknown_fields=True):
    """The query of a push: for which table, what happens to invalid rows, and which columns hold texts.

    ``texts`` is a JSON object: columns whose texts stand for values of other types, such as those of a CSV file, and
    how. ``project`` is the service's own where it is left out.
    """

    table: str
    project: str = ""
    on_invalid: Literal["reject", "quarantine"] | None = None
    texts: str = "{}"

    def rows(self, body: bytes) -> Given:
        """The rows of a body; InvalidData where it is no Arrow stream."""
        import polars as pl

        from tiffin.ingest.text import Given, Writing

        try:
            texts = msgspec.json.decode(self.texts, type=dict[str, Writing])
        except msgspec.DecodeError as error:
            raise _unusable(error) from None
        try:
            frame = pl.read_ipc_stream(BytesIO(body), use_pyarrow=False)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
            raise InvalidData(
                f"The body of the request is no Arrow stream: {error}.",
                field="body",
                hint="Send the rows as an Arrow IPC stream.",
            ) from None
        return Given(frame, texts)


def read_push(query: bytes) -> StreamPush:
    """The query of a request; InvalidArgument where it is not one of a push."""
    given: dict[str, Any] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in given:
            raise _unusable(f"{name!r} is given twice")
        given[name] = value
    try:
        return msgspec.convert(given, StreamPush)
    except msgspec.ValidationError as error:
        raise _unusable(error) from None


def _unusable(why: object) -> InvalidArgument:
    return InvalidArgument(
        f"The query of the push cannot be read: {why}.", field="query", hint="Write ?table=NAME, and project=NAME."
    )
