"""Verify: the online store compared with what the history says at this instant (semantics, sections 4 and 5).

The winners of the history are read once, in bounded memory, and each is compared with the bytes that are stored under
its key; then the store's keys are looked for among the winners', bucket by bucket. What differs is only suspected:
:mod:`tiffin.ingest.recheck` reads it again before it is told, so that writers at work cause no false alarm.

What should be online is what any writer was asked to bring there. After a materialisation that is every winner whose
time has come. Of a table that was only pushed to it is the pushes, and after windows of event times the rows from the
earliest of them on; of these tables everything else is told as waiting. Rows past max age may be gone. A commit that an
incremental materialisation has not seen yet makes rows stale or missing, as they are.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import polars as pl
from msgspec.structs import replace

from tiffin import clock
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import TableSchema
from tiffin.errors import Unsupported
from tiffin.ingest.compare import Comparison
from tiffin.ingest.consistency import State, TableReport
from tiffin.ingest.erased import Guard
from tiffin.ingest.expected import Expected
from tiffin.ingest.findings import Findings
from tiffin.ingest.materialize import Route, commits_waiting
from tiffin.ingest.recheck import Recheck
from tiffin.offline.base import Window
from tiffin.offline.buckets import Buckets
from tiffin.online.base import Comparable, Marks, TableId
from tiffin.online.codec import encode_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Keys that are suspected are read again so many at once.
SUSPECTS: Final = 100_000
#: Bytes that the search for winners holds where no option bounds them.
MEMORY_BUDGET: Final = 512 << 20
#: Rows that are encoded and compared at once.
BATCH_ROWS: Final = 16_384
#: About so many keys of the store are held at once where they are looked for in the history.
_BUCKET_KEYS: Final = 500_000
_BUCKET_BYTES: Final = 32 << 20
_KEY: Final = "key"


class Asked(msgspec.Struct, frozen=True):
    """What a verification is to do.

    About ``sample`` keys are compared, None for all. ``examples`` bounds the differences that are shown. ``fix`` mends
    what differs. ``filled`` says that the table is known to have been materialised, whatever the store says of it.
    ``patience`` is how many seconds a row may take that a writer is about to write.
    """

    sample: int | None = None
    examples: int = 100
    fix: bool = False
    filled: bool = False
    patience: float = 10.0


def verify(route: Route, table: TableSchema, asked: Asked, *, control: Control = UNWATCHED) -> TableReport:
    """Compare one table; nothing is written unless ``asked.fix``.

    Unsupported where the store cannot list its keys, or the engine does not read the table's source.
    """
    store = route.store
    if not isinstance(store, Comparable):
        raise Unsupported(
            f"{type(store).__name__} cannot list its keys, so it cannot be compared with the history.",
            hint="Use a store that can, or materialise the table again.",
        )
    return _Verification(route, store, table, asked, control).run()


class _Verification:
    """One comparison of one table."""

    def __init__(self, route: Route, store: Comparable, table: TableSchema, asked: Asked, control: Control) -> None:
        self._route = route
        self._store = store
        self._table = table
        self._asked = asked
        self._control = control
        self._id = TableId(table.project, table.name)
        self._findings = Findings(table, asked.examples, filled=asked.filled)
        self._expected = Expected(route, table, filled=asked.filled)
        self._guard = Guard(table, route.erased)
        self._comparison = Comparison(table, route.store.layouts(self._id), outdated=self._expected.outdated)
        self._recheck = Recheck(route, store, table, self._findings, fix=asked.fix, patience=asked.patience)
        self._suspects: list[bytes] = []
        self._now = clock.now()

    def run(self) -> TableReport:
        """Compare, and tell."""
        total = sum(len(page) for page in self._checked(self._store.keys(self._id)))
        slices = 1 if self._asked.sample is None else max(1, -(-total // max(self._asked.sample, 1)))
        # Another slice of all keys each time, and the same of both sides: orphans and what is missing are in it, too.
        chosen = pl.col(_KEY).hash(seed=secrets.randbits(32)) % slices == 0 if slices > 1 else None
        with tempfile.TemporaryDirectory(prefix="tiffin-verify-") as folder:
            count = max(1, -(-total // slices // _BUCKET_KEYS))
            theirs = Buckets(Path(folder) / "history", count, _BUCKET_BYTES)
            ours = Buckets(Path(folder) / "online", count, _BUCKET_BYTES)
            for frame in self._winners(chosen):
                theirs.add(self._compare(frame), _bucket(count))
            for page in self._checked(self._store.keys(self._id)):
                keys = _as_frame(page)
                ours.add(keys if chosen is None else keys.filter(chosen), _bucket(count))
            self._orphans(theirs, ours)
        self._ask_again(least=1)
        return self._report(total, sampled=slices > 1)

    def _checked(self, pages: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
        """Pages, of which there is at least one, with a look in between at whether to stop."""
        yield []
        for page in pages:
            self._control.check()
            yield page

    def _winners(self, chosen: pl.Expr | None) -> Iterator[pl.DataFrame]:
        """The rows that the history has for its keys, or for the chosen ones; there is at least one frame."""
        window = Window(end=self._now + 1)
        budget, control = self._route.limits.memory_budget or MEMORY_BUDGET, self._control
        latest = self._route.engine.latest
        if chosen is None:
            yield from latest(self._table, window, memory_budget=budget, control=control)
            return
        narrow = replace(self._table, features=())
        found = latest(narrow, window, memory_budget=budget, control=control)
        keys = pl.concat([frame.filter(self._stored_keys(frame).select(chosen).to_series()) for frame in found])
        keys = keys.select(self._table.key_names)
        for part in keys.iter_slices(SUSPECTS) if keys.height else [keys]:
            yield from latest(self._table, window, keys=part, memory_budget=budget, control=control)

    def _compare(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Compare winners with what is stored; their keys as they would be stored."""
        names = list(self._table.key_names)
        frame = self._guard.kept(frame.drop_nulls(names))
        for batch in frame.iter_slices(BATCH_ROWS):
            self._control.check()
            expected = self._comparison.encoded(batch)
            held = self._route.store.read(self._id, [key for key, _ in expected])
            self._findings.compared += batch.height
            unequal = [at for at, ((_, row), value) in enumerate(zip(expected, held, strict=True)) if row != value]
            for at in unequal:
                key, row = expected[at]
                if not self._is_right(batch[at], row, held[at]):
                    self._suspects.append(key)
            self._control.progress(self._findings.compared, unit="keys")
            self._ask_again(least=SUSPECTS)
        return self._stored_keys(frame)

    def _stored_keys(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The keys of winners as they are stored."""
        return _as_frame(encode_keys(self._table.keys, frame))

    def _is_right(self, row: pl.DataFrame, expected: bytes, held: bytes | None) -> bool:
        """Whether a row whose bytes are others is no difference for sure."""
        if held is None:
            excuse = self._expected.excuse(row, self._now)
            if excuse is not None:
                self._findings.excuse(excuse)
            return excuse is not None
        at_most = held[:32] <= expected[:32]
        return at_most and self._comparison.verdict(row, expected, held) is None

    def _orphans(self, theirs: Buckets, ours: Buckets) -> None:
        """Suspect the keys that are stored and that no winner has."""
        theirs.flush()
        ours.flush()
        for number in range(ours.count):
            stored = ours.scan(number).unique()
            known = theirs.scan(number).join(stored, on=_KEY, how="semi")
            alone = stored.join(known, on=_KEY, how="anti").collect()[_KEY].to_list()
            self._findings.compared += len(alone)
            self._suspects += alone
            self._ask_again(least=SUSPECTS)

    def _ask_again(self, *, least: int) -> None:
        """Read suspected keys again, once there are enough of them."""
        while len(self._suspects) >= least:
            part, self._suspects = self._suspects[:SUSPECTS], self._suspects[SUSPECTS:]
            self._recheck.run(part, self._control)

    def _report(self, total: int, *, sampled: bool) -> TableReport:
        never = total == 0 and not self._findings.found and not self._expected.is_filled
        report = self._findings.report(State.NEVER_MATERIALIZED if never else State.COMPARED)
        note = "nothing of it was brought online yet; materialize it" if never else ""
        behind = commits_waiting(self._route, self._table) if isinstance(self._route.store, Marks) else 0
        return replace(report, sampled=sampled, note=note, behind=behind)


def _as_frame(keys: Sequence[bytes]) -> pl.DataFrame:
    return pl.DataFrame({_KEY: pl.Series(keys, dtype=pl.Binary)})


def _bucket(count: int) -> pl.Expr:
    return pl.col(_KEY).hash(seed=0) % count
