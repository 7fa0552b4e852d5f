"""Reading the same field of many messages at once: numbers as arrays, texts as places in the messages.

A cursor stands in each message. Every method takes the numbers of the messages that it reads from, ascending, moves
their cursors, and marks as failed those whose bytes end too early or make no sense. A message that failed stays where
it is; callers ask ``alive`` which are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
"""Numbers of messages, ascending; or places in their bytes."""

#: Zeros behind the last message, so that what is read there is nothing and not out of bounds.
_PAD: Final = 16
_STOP: Final = np.uint64(0x8080808080808080)
_LONGEST: Final = 10

TRUNCATED: Final = "the message ends in the midst of {0}"


class Slices:
    """Texts or bytes: of each the number of its message, where it starts in all bytes, and how long it is."""

    def __init__(self, messages: Numbers, starts: Numbers, lengths: Numbers) -> None:
        self.messages = messages
        self.starts = starts
        self.lengths = lengths


class Messages:
    """The bytes of many messages, and a cursor in each; the first ``skip`` bytes of each are left out."""

    def __init__(self, values: Sequence[bytes], skip: int = 0) -> None:
        self.count = len(values)
        self.data = b"".join(values) + b"\0" * _PAD
        self.raw = np.frombuffer(self.data, np.uint8)
        lengths = np.fromiter(map(len, values), np.int64, self.count)
        self.ends: Numbers = np.cumsum(lengths)
        self._starts: Numbers = self.ends - lengths
        self.cursor: Numbers = np.minimum(self._starts + skip, self.ends)
        self.failed: dict[int, str] = {}
        self._values = pl.Series(values, dtype=pl.Binary)
        self._dead = np.zeros(self.count, np.bool_)
        self._terminators: Numbers | None = None

    def alive(self, those: Numbers) -> Numbers:
        """Those that have not failed."""
        return those[~self._dead[those]] if self.failed else those

    def fail(self, those: Numbers, reason: str) -> None:
        """Mark messages as failed; the first reason stays."""
        for number in those.tolist():
            self.failed.setdefault(number, reason)
        self._dead[those] = True

    def whole(self, those: Numbers, what: str) -> tuple[Numbers, Numbers]:
        """Signed whole numbers, as many bytes as each has, and the messages that have them."""
        at = self._at(those)
        window = self._view("<u8")[at]
        stop = ~window & _STOP
        short = stop != 0
        low = stop & (~stop + np.uint64(1))
        bits = _packed(window & (low ^ (low - np.uint64(1))))
        length = (np.bitwise_count(low - np.uint64(1)).astype(np.int64) >> 3) + 1
        if not short.all():
            long = np.flatnonzero(~short)
            those, at, bits, length = self._long(those, at, bits, length, long, what)
        value = (bits >> np.uint64(1)).view(np.int64) ^ -(bits & np.uint64(1)).view(np.int64)
        return self._moved(those, at + length, value, what)

    def fixed(self, those: Numbers, dtype: str, what: str) -> tuple[Numbers, NDArray[Any]]:
        """Numbers of a fixed width, and the messages that have them."""
        at = self._at(those)
        found = self._view(dtype)[at]
        return self._moved(those, at + found.dtype.itemsize, found, what)

    def blob(self, those: Numbers, what: str) -> Slices:
        """Bytes with their length before them."""
        those, length = self.whole(those, what)
        negative = length < 0
        if negative.any():
            self.fail(those[negative], f"{what} has a negative length")
            those, length = those[~negative], length[~negative]
        return self.slices(those, length, what)

    def slices(self, those: Numbers, lengths: Numbers, what: str) -> Slices:
        """So many bytes."""
        starts = self._at(those)
        over = lengths > self.ends[those] - starts  # so rather than by a sum, which might pass 64 bits
        if over.any():
            self.fail(those[over], TRUNCATED.format(what))
            those, starts, lengths = those[~over], starts[~over], lengths[~over]
        self.cursor[those] = starts + lengths
        return Slices(those, starts, lengths)

    def left(self, those: Numbers) -> Numbers:
        """How many bytes are left in each."""
        return self.ends[those] - self._at(those)

    def series(self, slices: Slices) -> pl.Series:
        """The bytes at some places, as a column."""
        # As many slices as messages need not be one of each: the items of lists may be in any of them.
        whole = len(slices.messages) == self.count and np.array_equal(slices.messages, np.arange(self.count))
        values = self._values if whole else self._values.gather(slices.messages)
        offsets = slices.starts - self._starts[slices.messages]
        frame = pl.DataFrame({"value": values, "offset": offsets, "length": slices.lengths})
        return frame.select(pl.col("value").bin.slice(pl.col("offset"), pl.col("length"))).to_series()

    def numbers_at(self, places: Numbers, dtype: str) -> NDArray[Any]:
        """Numbers of a fixed width at places in all bytes."""
        found: NDArray[Any] = self._view(dtype)[places]
        return found

    def varint_ends(self, at: int, count: int) -> Numbers | None:
        """Where each of so many whole numbers from a place on ends; None where there are not so many."""
        if self._terminators is None:
            self._terminators = np.flatnonzero(self.raw < 0x80) + 1
        first = int(np.searchsorted(self._terminators, at, side="right"))
        found = self._terminators[first : first + count]
        return found if len(found) == count else None

    def _at(self, those: Numbers) -> Numbers:
        return self.cursor[those] if len(those) < self.count else self.cursor.copy()

    def _view(self, dtype: str) -> NDArray[Any]:
        """The bytes as numbers that may begin anywhere."""
        size = np.dtype(dtype).itemsize
        return np.ndarray((len(self.data) - size + 1,), dtype, self.data, strides=(1,))

    def _moved(self, those: Numbers, ends: Numbers, values: NDArray[Any], what: str) -> tuple[Numbers, NDArray[Any]]:
        over = ends > self.ends[those]
        if over.any():
            self.fail(those[over], TRUNCATED.format(what))
            those, ends, values = those[~over], ends[~over], values[~over]
        if len(those) == self.count:
            self.cursor = ends
        else:
            self.cursor[those] = ends
        return those, values

    def _long(
        self, those: Numbers, at: Numbers, bits: NDArray[np.uint64], length: Numbers, long: Numbers, what: str
    ) -> tuple[Numbers, Numbers, NDArray[np.uint64], Numbers]:
        """The same where some numbers have nine or ten bytes, or more than a number may have."""
        places = at[long]
        bits[long] = _packed(self._view("<u8")[places])
        ninth, tenth = self.raw[places + 8].astype(np.uint64), self.raw[places + 9].astype(np.uint64)
        bits[long] |= (ninth & np.uint64(0x7F)) << np.uint64(56)
        ten = ninth >= 0x80
        bits[long[ten]] |= tenth[ten] << np.uint64(63)
        length[long] = np.where(ten, _LONGEST, _LONGEST - 1)
        # Where the bytes end before, they are not too many but too few.
        inside = places + _LONGEST <= self.ends[those[long]]
        oversized = long[ten & (tenth > 1) & inside]
        if not len(oversized):
            return those, at, bits, length
        self.fail(those[oversized], f"{what} is a number of more than 64 bits")
        return (
            np.delete(those, oversized),
            np.delete(at, oversized),
            np.delete(bits, oversized),
            np.delete(length, oversized),
        )


def varints(raw: NDArray[np.uint8], starts: Numbers, ends: Numbers) -> Numbers | None:
    """Signed whole numbers at given places; None where one has more than 64 bits."""
    lengths = ends - starts
    if len(lengths) and int(lengths.max()) > _LONGEST:
        return None
    bits = np.zeros(len(starts), np.uint64)
    for place in range(int(lengths.max()) if len(lengths) else 0):
        there = np.flatnonzero(lengths > place)
        group = raw[starts[there] + place].astype(np.uint64)
        if place == _LONGEST - 1 and (group > 1).any():
            return None
        bits[there] |= (group & np.uint64(0x7F)) << np.uint64(7 * place)
    return (bits >> np.uint64(1)).view(np.int64) ^ -(bits & np.uint64(1)).view(np.int64)


def _packed(window: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Eight groups of seven bits, each in a byte of its own, as 56 bits in a row."""
    two = (window & np.uint64(0x007F007F007F007F)) | ((window & np.uint64(0x7F007F007F007F00)) >> np.uint64(1))
    four = (two & np.uint64(0x00003FFF00003FFF)) | ((two & np.uint64(0x3FFF00003FFF0000)) >> np.uint64(2))
    return (four & np.uint64(0x000000000FFFFFFF)) | ((four & np.uint64(0x0FFFFFFF00000000)) >> np.uint64(4))
