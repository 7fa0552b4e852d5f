"""Committing a batch to a lake: the one point at which its rows come to be, for every reader at once.

Data files are written first, unseen; then one entry of the Delta log names them all. The log orders commits of all
processes: an attempt that loses the race for its version looks again at what has come and tries anew. An idempotency
key is a transaction of the log, whose version is the hash of the batch's content, so that it is checked in the very
commit and survives the clean-up of old log entries. So are the offsets of streams: the version of their transaction is
the offset of the next message, and a batch that does not follow the one that is recorded is not committed.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

import polars as pl
from deltalake import DeltaTable, Transaction

from tiffin import clock
from tiffin.control import UNWATCHED, Control
from tiffin.errors import ConcurrentChange, Conflict, NotFound
from tiffin.offline.area import TOKEN, Area, Part, sweep
from tiffin.offline.attempt import add_action, attempt
from tiffin.offline.brought import INGESTED_AT, ROWS, brought
from tiffin.offline.delta import delta_errors, open_table
from tiffin.offline.entries import entries
from tiffin.offline.fence import FENCE, OPEN, fence_of
from tiffin.offline.ledger import commits_after
from tiffin.offline.parts import Batch, Shape, write_parts
from tiffin.offline.stamps import last_stamp, stamps_of
from tiffin.offline.target import prepare, shape_of, stamped

#: Keys of a commit's metadata beside COMMITTED_AT, TOKEN, INGESTED_AT and ROWS.
KEY: Final = "tiffin.key"
OFFSETS: Final = "tiffin.offsets"
#: Notes that a writer leaves in its commit: that its rows are meant for the online store, too, and the name of its
#: dead letters. By the first recovery finishes what was meant for both stores and reached only this one.
PUSH: Final = "tiffin.push"
DEAD_LETTERS: Final = "tiffin.dead_letters"

#: How often an attempt that lost its race is repeated, and how long it waits at most in between.
ATTEMPTS: Final = 100
MAX_WAIT_S: Final = 0.5
#: How often a batch is written anew, where another writer took its instant or changed the table's columns.
REWRITES: Final = 5
#: Statistics in a log may be cut to milliseconds.
_CUT_US: Final = 999


class Appended(NamedTuple):
    """A committed batch. ``already`` says that an earlier commit under the same key holds it."""

    version: int
    rows: int
    ingested_at: int
    partitions: tuple[str, ...]
    already: bool = False


Offsets = Mapping[str, tuple[int | None, int]]
"""By name of a transaction: the offset that must be recorded, None for none yet, and the one that is recorded then."""


class OffsetsMoved(ConcurrentChange):
    """Another writer stored messages of the same stream first; ``found`` are the offsets that are recorded now."""

    def __init__(self, uri: str, found: Mapping[str, int | None]) -> None:
        super().__init__(
            f"Another writer stored messages of the same stream in {uri!r} first.",
            hint="Go on from the offsets that the table's log holds.",
        )
        self.found = dict(found)


class Claim(NamedTuple):
    """What keeps a batch from being stored twice: its key with a hash of its content, and the offsets it ends at.

    ``notes`` stand beside them in the commit's metadata. ``fence`` is that of erasures as the table was opened, and
    ``known`` the one that the rows were chosen by.
    """

    key: str = ""
    digest: int = 0
    offsets: Offsets = {}
    notes: Mapping[str, str | int] = {}
    fence: int = OPEN
    known: int = OPEN


class _Outdated(Exception):  # no error: the batch is written anew
    """Another writer took the batch's instant, changed the columns it was written for, or erased rows of it."""


def append(
    uri: str,
    batch: Batch,
    *,
    key: str = "",
    digest: int = 0,
    offsets: Offsets | None = None,
    notes: Mapping[str, str | int] | None = None,
    table: DeltaTable | None = None,
    control: Control = UNWATCHED,
) -> Appended:
    """Store a batch, all of it or nothing, in one commit. Only one with ``offsets`` may be empty.

    ``key`` is unique in the table: with an equal ``digest`` (63 bits of a hash of the content) the batch is stored
    once, with another it is a Conflict. ``offsets`` are moved in the same commit: OffsetsMoved where one of them is not
    where it is expected. ConcurrentChange where other writers won every race; StorageError where the place refuses the
    work; nothing is stored then. ``notes`` are metadata of the commit, such as PUSH where the rows are meant for the
    online store, too. ``table`` spares opening it again.
    """
    claim = Claim(key, digest, offsets or {}, notes or {})
    table, shape = _prepared(uri, batch, table)
    sweep(uri, table)
    for _ in range(REWRITES):
        found = _claimed(uri, claim, table)
        if found is not None:
            return found
        fence = fence_of(table)
        known = batch.admit(fence) if batch.admit is not None else OPEN
        try:
            return _write_and_commit(uri, table, batch, shape, claim._replace(fence=fence, known=known), control)
        except _Outdated:
            table, shape = _prepared(uri, batch, table)
    raise ConcurrentChange(f"Other writers kept changing the table at {uri!r}.", hint="Try again.")


def _prepared(uri: str, batch: Batch, table: DeltaTable | None) -> tuple[DeltaTable, Shape]:
    for lost in range(ATTEMPTS - 1):
        try:
            return prepare(uri, batch, table)
        except ConcurrentChange:
            _wait(lost)
    return prepare(uri, batch, table)


def applied(uri: str, key: str, digest: int, table: DeltaTable | None) -> Appended | None:
    """The commit that holds a batch under a key, if there is one; Conflict where it holds other content."""
    if table is None or not key:
        return None
    with delta_errors(uri):
        before = table.transaction_version(_app(key))
        if before is None:
            return None
        if before != digest:
            raise Conflict(
                f"The idempotency key {key!r} was used before for other content in {uri!r}.",
                field="idempotency_key",
                hint="Use a new key for new content.",
            )
        entry = next((entry for entry in entries(uri, table.version()) if entry.get(KEY) == _app(key)), {})
    version = int(entry.get("version", table.version()))
    folders = _folders_of(uri, table, version, str(entry.get(TOKEN, "unknown")))
    return Appended(version, int(entry.get(ROWS, 0)), int(entry.get(INGESTED_AT, 0)), folders, already=True)


def recorded(uri: str, table: DeltaTable, names: Iterable[str]) -> dict[str, int | None]:
    """The offsets that an open table holds, None for those of which it has none."""
    with delta_errors(uri):
        return {name: table.transaction_version(name) for name in names}


def _claimed(uri: str, claim: Claim, table: DeltaTable) -> Appended | None:
    """The commit that holds the batch, if there is one; raises where what was committed meanwhile forbids it."""
    found = recorded(uri, table, claim.offsets)
    if any(found[name] != expected for name, (expected, _) in claim.offsets.items()):
        raise OffsetsMoved(uri, found)
    return applied(uri, claim.key, claim.digest, table)


def _write_and_commit(
    uri: str, table: DeltaTable, batch: Batch, shape: Shape, claim: Claim, control: Control
) -> Appended:
    with delta_errors(uri), Area(uri) as area:
        base = table.version()
        stamp = max(clock.now(), last_stamp(table) + _CUT_US + 1)
        parts = write_parts(area, batch, shape, stamp, control)
        control.check()
        area.publish(table.version())
        for lost in range(ATTEMPTS):
            version = _commit(uri, table, area, parts, stamp, claim)
            if version is not None:
                area.keep()
                area.settle(version)
                rows = sum(part.rows for part in parts)
                return Appended(version, rows, stamp, _folders(part.path for part in parts))
            found = _claimed(uri, claim, table)
            if found is not None:
                return found
            if shape_of(table, batch) != shape or _is_taken(uri, table, stamp, base) or fence_of(table) != claim.fence:
                raise _Outdated
            _wait(lost)
    raise ConcurrentChange(
        f"Other writers committed to {uri!r} first, {ATTEMPTS} times in a row.", hint="Try again when fewer write."
    )


def _commit(uri: str, table: DeltaTable, area: Area, parts: list[Part], stamp: int, claim: Claim) -> int | None:
    """One attempt; the version that holds the batch, or None where another writer took it and the table is reloaded."""
    metadata: dict[str, str | int] = {
        TOKEN: area.token,
        INGESTED_AT: stamp,
        ROWS: sum(part.rows for part in parts),
        **claim.notes,
    }
    if claim.key:
        metadata[KEY] = _app(claim.key)
    if claim.offsets:
        metadata[OFFSETS] = json.dumps(claim.offsets)
    with delta_errors(uri):
        properties = stamped(table, **metadata)
    properties.app_transactions = _transactions(claim)
    return attempt(uri, table, area, [add_action(part) for part in parts], properties)


def _transactions(claim: Claim) -> list[Transaction]:
    moved = [Transaction(name, offset) for name, (_, offset) in claim.offsets.items()]
    if claim.fence == OPEN and claim.known > OPEN:
        moved.append(Transaction(FENCE, claim.known))
    return [*moved, Transaction(_app(claim.key), claim.digest)] if claim.key else moved


def _is_taken(uri: str, table: DeltaTable, stamp: int, base: int) -> bool:
    """Whether a commit above ``base`` took the instant."""
    since = brought(commits_after(uri, table, base))
    return stamp in (stamps_of(table) if since is None else since.instants)


def _folders_of(uri: str, table: DeltaTable, version: int, token: str) -> tuple[str, ...]:
    """The folders that a commit put files in; since it was compacted its own version tells, as long as the log does."""
    with delta_errors(uri):
        folders = _folders(path for path in _paths(table) if token in path)
    if folders:
        return folders
    try:
        then = open_table(uri, version)
    except NotFound:
        return ()
    return () if then is None else _folders(path for path in _paths(then) if token in path)


def _paths(table: DeltaTable) -> list[str]:
    paths: list[str] = pl.DataFrame(table.get_add_actions(flatten=True))["path"].to_list()
    return paths


def _folders(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({path.rpartition("/")[0] for path in paths if "/" in path}))


def _app(key: str) -> str:
    """The name of a key's transaction: keys may be long, or tell what no log should."""
    return f"tiffin/{blake2b(key.encode(), digest_size=16).hexdigest()}"


def _wait(lost: int) -> None:
    """Wait a random while, longer with each lost race, so that writers spread."""
    time.sleep(random.uniform(0, min(MAX_WAIT_S, 0.005 * 2 ** min(lost, 10))))  # noqa: S311  # no secret
