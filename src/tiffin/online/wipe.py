"""Wiping an LMDB file: what it still holds of rows that were deleted is overwritten with zeros, in place.

LMDB frees a page without a word to its bytes, and leaves gaps in the pages it keeps, into which whatever the memory
held was written. Nothing reads either. So while no other process writes, all free pages are overwritten, the gap of
every page that is in use, and what the file has beyond its last page. Pages that a reader may still look at wait: those
freed after it began. Those of the last commit keep what they hold but for their gaps, so that a crash finds the commit
before.

The layout is LMDB's own, of version 1 of its format: little-endian; pages with a header of 16 bytes (number, padding,
flags, and the bounds of the gap); a tree of free pages by the commit that freed them, and a tree of rows.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tiffin.errors import CorruptData

_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_META: Final = struct.Struct("<16xIIQQ")
_TREE: Final = struct.Struct("<IHHQQQQQ")
_TREES: Final = _META.size
_TAIL: Final = struct.Struct("<QQ")
_HEADER: Final = struct.Struct("<QHHHH")
_NODE: Final = struct.Struct("<HHHH")
_NUMBER: Final = struct.Struct("<Q")

_BRANCH, _LEAF, _OVERFLOW = 0x01, 0x02, 0x04
#: The flag of a node whose value lies in pages of its own.
_BIG: Final = 0x01
_NONE: Final = (1 << 64) - 1


class Tree(NamedTuple):
    """A tree of the file: its root, how deep it is, and how many of its pages hold nothing but large values."""

    root: int
    depth: int
    overflow: int


class State(NamedTuple):
    """The file as its last commit left it."""

    page: int
    free: Tree
    rows: Tree
    last: int
    commit: int


def wipe(path: Path, oldest_reader: int | None) -> bool:
    """Overwrite what is not in use; whether all of it could be. The caller holds the write lock.

    ``oldest_reader`` is the commit that the oldest reader looks at, None without readers. CorruptData where the file is
    not laid out as expected; nothing is overwritten then.
    """
    descriptor = os.open(path, os.O_RDWR)
    try:
        with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as data:
            wiped = _Wiper(data, descriptor).run(oldest_reader)
        os.fsync(descriptor)
        return wiped
    finally:
        os.close(descriptor)


class _Wiper:
    def __init__(self, data: mmap.mmap, descriptor: int) -> None:
        self._data = data
        self._descriptor = descriptor
        self._state = _state(data)
        self._page = self._state.page

    def run(self, oldest_reader: int | None) -> bool:
        state = self._state
        used = [*self._pages(state.free), *self._pages(state.rows)]
        free = list(self._free())
        self._check(used, free)
        for number in used:
            self._wipe_gap(number)
        for start, end in [*self._large(state.rows), *self._large(state.free)]:
            self._zero(start, end)
        certain = state.commit - 1 if oldest_reader is None else min(state.commit - 1, oldest_reader)
        for commit, pages in free:
            for number in pages:
                if commit <= certain:
                    self._zero(number * self._page, (number + 1) * self._page)
                else:
                    self._wipe_gap(number)
        self._zero((state.last + 1) * self._page, len(self._data))
        return all(commit <= certain or commit >= state.commit for commit, _ in free)

    def _check(self, used: list[int], free: list[tuple[int, list[int]]]) -> None:
        """No page is both free and in use, and all lie in the file: else the layout was misread."""
        freed = [number for _, pages in free for number in pages]
        every = {*used, *freed}
        inside = all(1 < number <= self._state.last for number in every)
        if len(every) != len(used) + len(freed) or not inside:
            raise CorruptData("The online store's file is not laid out as expected, and was not overwritten.")

    def _pages(self, tree: Tree) -> Iterator[int]:
        """The pages of a tree but for those of large values, branches before what is below them."""
        level = [] if tree.root == _NONE else [tree.root]
        for depth in range(tree.depth):
            yield from level
            if depth + 1 < tree.depth:
                level = [child for number in level for child in self._children(number)]

    def _leaves(self, tree: Tree) -> Iterator[int]:
        return (number for number in self._pages(tree) if self._header(number)[2] & _LEAF)

    def _children(self, number: int) -> Iterator[int]:
        for place in self._nodes(number):
            low, high, flags, _ = _NODE.unpack_from(self._data, place)
            yield low | high << 16 | flags << 32

    def _nodes(self, number: int) -> Iterator[int]:
        """Where the nodes of a page begin."""
        start = number * self._page
        lower = self._header(number)[3]
        for offset in struct.unpack_from(f"<{(lower - _HEADER.size) // 2}H", self._data, start + _HEADER.size):
            yield start + offset

    def _values(self, tree: Tree) -> Iterator[tuple[int, int, int, bool]]:
        """Of every row of a tree: where its key is, where its value, the value's length, and whether it is large."""
        for number in self._leaves(tree):
            for place in self._nodes(number):
                low, high, flags, key = _NODE.unpack_from(self._data, place)
                start, large = place + _NODE.size + key, bool(flags & _BIG)
                if large:
                    start = _NUMBER.unpack_from(self._data, start)[0] * self._page + _HEADER.size
                yield place + _NODE.size, start, low | high << 16, large

    def _large(self, tree: Tree) -> Iterator[tuple[int, int]]:
        """What follows the values that lie in pages of their own, up to the end of these."""
        for _, start, length, large in self._values(tree) if tree.overflow else ():
            if large:
                head = start - _HEADER.size
                pages = int.from_bytes(self._data[head + 12 : head + 16], "little")
                yield start + length, head + pages * self._page

    def _free(self) -> Iterator[tuple[int, list[int]]]:
        """The free pages, by the commit that freed them."""
        for key, start, length, _ in self._values(self._state.free):
            numbers = struct.unpack_from(f"<{length // 8}Q", self._data, start)
            yield _NUMBER.unpack_from(self._data, key)[0], list(numbers[1 : numbers[0] + 1])

    def _header(self, number: int) -> tuple[int, ...]:
        return _HEADER.unpack_from(self._data, number * self._page)

    def _wipe_gap(self, number: int) -> None:
        found, _, flags, lower, upper = self._header(number)
        start = number * self._page
        if found == number and flags & (_BRANCH | _LEAF) and not flags & _OVERFLOW and lower <= upper <= self._page:
            self._zero(start + lower, start + upper)

    def _zero(self, start: int, end: int) -> None:
        """Overwrite, where there is anything."""
        if start < end and self._data[start:end].strip(b"\0"):
            os.pwrite(self._descriptor, bytes(end - start), start)


def _state(data: mmap.mmap) -> State:
    """The newer of the two descriptions of the file."""
    first = _described(data, 0)
    second = _described(data, first.page)
    return max(first, second, key=lambda state: state.commit)


def _described(data: mmap.mmap, start: int) -> State:
    magic, version, _, _ = _META.unpack_from(data, start)
    if magic != _MAGIC or version != _VERSION:
        raise CorruptData("The online store's file is of another format of LMDB, and was not overwritten.")
    page, _, depth, _, _, overflow, _, root = _TREE.unpack_from(data, start + _TREES)
    rows = _TREE.unpack_from(data, start + _TREES + _TREE.size)
    last, commit = _TAIL.unpack_from(data, start + _TREES + 2 * _TREE.size)
    return State(page, Tree(root, depth, overflow), Tree(rows[7], rows[2], rows[5]), last, commit)
