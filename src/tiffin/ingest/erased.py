"""Erased: rows of erased keys are left out by every writer, whatever it knew when it began (semantics, section 10).

A writer holds the erased keys as of a version of the registry. That alone would not do: one that began before an
erasure could end after it. So an erasure leaves its version at a *fence* of each place, after its tombstone and before
it looks for rows: in the log of a history, whose next commit then fails for whoever has not seen it; and in the mark of
an online table, which writers look at before and after they write. A writer that meets a fence beyond what it knows
asks again, and chooses its rows anew. A place without a fence may be one that was made after an erasure had looked: so
there a writer asks, too, and sets the fence itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Final, Protocol

import polars as pl

from tiffin.definitions.schema import Column, TableSchema
from tiffin.offline.columns import key_readings, loosely
from tiffin.online.codec import encode_keys
from tiffin.registry.erasures import Told, Tombstones

#: Bytes of the hash of a key.
DIGEST_BYTES: Final = 16


class ErasedKeys(Protocol):
    """Whom writers ask; :class:`tiffin.registry.erasures.Erased` is one."""

    def known(self) -> Tombstones:
        """The erased keys at the version of the definitions that were last looked at."""
        ...

    def renewed(self) -> Tombstones:
        """The erased keys as they are this moment."""
        ...


class _Nobody:
    """Where nothing was ever erased."""

    _none: Final = Tombstones(Told(-1))

    def known(self) -> Tombstones:
        return self._none

    def renewed(self) -> Tombstones:
        return self._none


#: For stores without a registry.
NOBODY: Final[ErasedKeys] = _Nobody()


class Guard:
    """Leaves out the erased rows of one table, for one piece of work. ``dropped`` counts those of the last choice."""

    def __init__(self, table: TableSchema, erased: ErasedKeys = NOBODY) -> None:
        self._table = table
        self._erased = erased
        self._known = erased.known()
        self._wanted = self._of_table()
        self.dropped = 0

    @property
    def version(self) -> int:
        """Up to which version of the registry erasures are known."""
        return self._known.version

    def admit(self, fence: int) -> int:
        """Know all erasures up to a place's fence, before rows are chosen; up to which they are known then.

        Without a fence (0) the registry is asked, for no erasure may have seen the place; the caller sets one then.
        Rows are counted from here on.
        """
        self.dropped = 0
        if fence <= 0 or fence > self._known.version:
            self._known = self._erased.renewed()
            self._wanted = self._of_table()
        return self._known.version

    def kept(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of a canonical frame whose keys were not erased; the frame itself where all are."""
        gone = self.gone(frame)
        if gone is None:
            return frame
        self.dropped += int(gone.sum())
        return frame.filter(~gone)

    def stored(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """As :meth:`kept`, of frames in stored columns."""
        for frame in frames:
            if not self._wanted:
                yield frame
                continue
            keys = frame.select(reading.expression() for reading in key_readings(self._table, frame.schema))
            gone = self.gone(keys)
            if gone is not None:
                self.dropped += int(gone.sum())
                frame = frame.filter(~gone)
            if frame.height:
                yield frame

    def letters(self, refused: pl.DataFrame) -> pl.DataFrame:
        """Refused rows, as they were given, but for those in which an erased key can be read."""
        for column, digests in self._wanted:
            for name in {column.name, column.expression} & set(refused.columns):
                keys = loosely(refused[name], column.dtype).alias(column.name).to_frame()
                gone = matching(column, self._table.project, self._known.salt, digests, keys)
                refused = refused if gone is None else refused.filter(~gone)
        return refused

    def gone(self, keys: pl.DataFrame) -> pl.Series | None:
        """Which rows of canonical keys were erased; None where none was."""
        marks = [
            mask
            for column, digests in self._wanted
            if (mask := matching(column, self._table.project, self._known.salt, digests, keys)) is not None
        ]
        return pl.select(pl.any_horizontal(marks)).to_series() if marks else None

    def _of_table(self) -> list[tuple[Column, frozenset[bytes]]]:
        of = self._known.of
        project = self._table.project
        return [(column, digests) for column in self._table.keys if (digests := of(project, column.name))]


def digests_of(column: Column, project: str, salt: bytes, keys: pl.Series) -> list[bytes]:
    """The keyed hashes of an entity's keys, none of them null."""
    head = f"{project}\0".encode()
    encoded = encode_keys((column,), keys.alias(column.name).to_frame())
    hashed: Callable[..., blake2b] = blake2b
    return [hashed(head + key, digest_size=DIGEST_BYTES, key=salt).digest() for key in encoded]


def matching(
    column: Column, project: str, salt: bytes, digests: frozenset[bytes], keys: pl.DataFrame
) -> pl.Series | None:
    """Which rows have one of the hashed keys; None where none has."""
    distinct = keys[column.name].drop_nulls().unique()
    found = [digest in digests for digest in digests_of(column, project, salt, distinct)]
    if not any(found):
        return None
    gone = distinct.filter(pl.Series(found, dtype=pl.Boolean))
    return keys[column.name].is_in(gone.implode()).fill_null(value=False)
