"""Dead letters of a stream: messages that could not be read, or whose rows are invalid, with all that is known of them.

They are set aside before the offset moves past them. A file of them is named by the partition and the offsets of the
messages among which they were, so that messages that are read again after a crash leave theirs once: the files of
attempts that were cut off begin at the same offset, and the attempt that was stored removes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import polars as pl

from tiffin.ingest.deadletter import folder_of, refused, write_file
from tiffin.ingest.validate import REASON
from tiffin.offline.location import filesystem, is_remote
from tiffin.stream.base import NO_TIMESTAMP, Message

#: What is told of the message itself, beside REASON and the columns that could be read.
TOPIC: Final = "_topic"
PARTITION: Final = "_partition"
OFFSET: Final = "_offset"
TIMESTAMP: Final = "_timestamp"
KEY: Final = "_key"
PAYLOAD: Final = "_payload"

_DIGITS: Final = 20


#: The columns that every letter has.
_HEAD: Final = {
    REASON: pl.String(),
    TOPIC: pl.String(),
    PARTITION: pl.Int64(),
    OFFSET: pl.Int64(),
    TIMESTAMP: pl.Datetime("us", "UTC"),
    KEY: pl.Binary(),
    PAYLOAD: pl.Binary(),
}

Spans = Mapping[str, tuple[int, int]]
"""By partition, the offset of the first message of a batch and the one after its last."""


class Letters(Protocol):
    """Where dead letters of one table go."""

    def write(self, letters: pl.DataFrame, spans: Spans) -> None:
        """Keep the letters of a batch, as :func:`letters_of` makes them, durably.

        StorageError or Unavailable where the place refuses them: none may count as kept then.
        """
        ...

    def settle(self, spans: Spans) -> None:
        """Forget what earlier attempts kept of messages from the beginnings of these spans on: this one was stored."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class LetterFiles:
    """Letters as Parquet below a folder or bucket: ``<root>/<project>/<table>/stream-<topic>-<number>/<offsets>``."""

    def __init__(self, root: str, project: str, table: str) -> None:
        self._root = root
        self._project = project
        self._table = table

    def write(self, letters: pl.DataFrame, spans: Spans) -> None:
        for (topic, number), frame in letters.partition_by([TOPIC, PARTITION], as_dict=True).items():
            partition = f"{topic}/{number}"
            folder = self._folder(partition)
            with refused(folder):
                write_file(frame, f"{folder}/{_file_name(*spans[partition])}")

    def settle(self, spans: Spans) -> None:
        for partition, (start, end) in spans.items():
            folder = self._folder(partition)
            with refused(folder):
                _remove_others(folder, f"{start:0{_DIGITS}}-", _file_name(start, end))

    def close(self) -> None:
        """Nothing is held."""

    def _folder(self, partition: str) -> str:
        name = f"stream-{partition.replace('/', '-')}"
        return folder_of(self._root, project=self._project, table=self._table, batch=name)


def letters_of(messages: Sequence[Message], reasons: Sequence[str], rows: pl.DataFrame | None = None) -> pl.DataFrame:
    """Letters of refused messages, a row each: why, where, when and what, beside the columns that were read."""
    head = pl.DataFrame(
        {
            REASON: reasons,
            TOPIC: [message.partition.rpartition("/")[0] for message in messages],
            PARTITION: [int(message.partition.rpartition("/")[2]) for message in messages],
            OFFSET: [message.offset for message in messages],
            TIMESTAMP: [None if message.timestamp == NO_TIMESTAMP else message.timestamp for message in messages],
            KEY: [message.key for message in messages],
            PAYLOAD: [message.value for message in messages],
        },
        schema=_HEAD,
    )
    return head if rows is None else head.hstack(rows.drop([name for name in _HEAD if name in rows.columns]))


def _file_name(start: int, end: int) -> str:
    return f"{start:0{_DIGITS}}-{end:0{_DIGITS}}.parquet"


def _remove_others(folder: str, beginning: str, kept: str) -> None:
    if not is_remote(folder):
        for path in Path(folder).glob(f"{beginning}*.parquet"):
            if path.name != kept:
                path.unlink(missing_ok=True)
        return
    files = filesystem(folder)
    for path in files.glob(f"{folder}/{beginning}*.parquet"):
        if not str(path).endswith(kept):
            files.rm_file(path)
