"""From messages of a stream to rows: decoded, completed, validated as those of any batch (semantics, section 5)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

import polars as pl

from tiffin.definitions.format import AnyStreamFormat
from tiffin.definitions.schema import ROW_COLUMN
from tiffin.ingest.metrics import IngestionMetrics
from tiffin.ingest.sift import Sifted, sifted
from tiffin.ingest.stream_columns import Feed, Translation, columns_wanted, completed
from tiffin.ingest.stream_letters import letters_of
from tiffin.ingest.text import Given, declared_types
from tiffin.ingest.validate import REASON, Validator
from tiffin.stream.base import Message
from tiffin.stream.decode import Decoder, decoder

#: The column that tells which message of a batch a row was in, where it is asked for.
AT: Final = "$at"


class Readable(NamedTuple):
    """The messages of a batch, the rows that are stored, in their order, and letters of the refused ones."""

    messages: Sequence[Message]
    rows: Sifted
    validator: Validator
    letters: pl.DataFrame | None


class StreamRows:
    """Reads the messages of one feed; ``extra`` columns are kept beside the declared ones.

    InvalidDefinition where messages cannot be read as rows of the table, or not be stored in its history. ``options``
    are those of decoders, ``staging`` is a scratch folder.
    """

    def __init__(
        self,
        feed: Feed,
        *,
        extra: Callable[[], Collection[str]],
        options: Mapping[str, str],
        staging: str,
        metrics: IngestionMetrics,
    ) -> None:
        self._read_as = feed.as_read
        self._stored_as = feed.table if feed.to_offline else self._read_as
        self._translated = Translation(feed) if feed.to_offline else _as_it_is
        self._extra = extra
        self._staging = staging
        self._metrics = metrics
        wanted = columns_wanted(self._read_as) | set(extra()) - {AT}
        self._decoder = self._open(feed.source.message_format, wanted, options)

    @contextmanager
    def read(self, messages: Sequence[Message], latest: int) -> Iterator[Readable]:
        """The rows of messages while the block lasts. Event times after ``latest`` (UTC microseconds) are refused."""
        decoded = self._decoder.decode(messages)
        given = self._translated(completed(self._read_as, Given(decoded.frame, decoded.texts)))
        extra = self._extra()
        if AT in extra:
            given = Given(given.frame.with_columns(decoded.positions.alias(AT)), given.texts)
        validator = Validator(self._stored_as, keep=extra, latest=latest)
        with sifted(validator, [given], on_invalid="quarantine", staging=self._staging, metrics=self._metrics) as rows:
            self._metrics.read(self._stored_as, len(decoded.failed))
            letters = [
                letters_of(
                    [messages[decoded.positions[row]] for row in bad[ROW_COLUMN]],
                    bad[REASON].to_list(),
                    bad.drop(REASON, ROW_COLUMN, AT, strict=False),
                )
                for bad in rows.bad.as_added()
            ]
            if decoded.failed:
                unread, reasons = zip(*decoded.failed, strict=True)
                letters.append(letters_of(unread, reasons))
            yield Readable(messages, rows, validator, pl.concat(letters, how="diagonal_relaxed") if letters else None)

    def _open(self, form: AnyStreamFormat, wanted: Collection[str], options: Mapping[str, str]) -> Decoder:
        table = self._read_as
        types = declared_types(table, wanted)
        return decoder(form, types=types, columns=wanted, created_column=table.created_column, options=options)


def _as_it_is(given: Given) -> Given:
    return given
