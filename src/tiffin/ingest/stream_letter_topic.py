"""Dead letters of a stream in a topic: the message as it was, and in its headers why it was refused and where it stood.

The key is the place of the message, so that one which is sent again after a crash takes the place of the first where
the topic is compacted, and can be told by its key everywhere else.
"""

from __future__ import annotations

import polars as pl

from tiffin.ingest.stream_letters import KEY, OFFSET, PARTITION, PAYLOAD, TIMESTAMP, TOPIC, Spans
from tiffin.ingest.validate import REASON
from tiffin.stream.base import Sink


class LetterTopic:
    """Letters in a topic: a :class:`~tiffin.ingest.stream_letters.Letters`."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, letters: pl.DataFrame, spans: Spans) -> None:
        del spans
        moments = letters[TIMESTAMP].dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        told = letters.select(TOPIC, PARTITION, OFFSET, REASON, KEY, PAYLOAD).with_columns(moments)
        self._sink.send(
            (
                f"{row[TOPIC]}/{row[PARTITION]}/{row[OFFSET]}".encode(),
                row[PAYLOAD],
                {
                    "reason": str(row[REASON]).encode(),
                    "topic": str(row[TOPIC]).encode(),
                    "partition": str(row[PARTITION]).encode(),
                    "offset": str(row[OFFSET]).encode(),
                    "timestamp": None if row[TIMESTAMP] is None else str(row[TIMESTAMP]).encode(),
                    "key": row[KEY],
                },
            )
            for row in told.iter_rows(named=True)
        )

    def settle(self, spans: Spans) -> None:
        """What was sent stays: a topic forgets by itself."""

    def close(self) -> None:
        self._sink.close()
