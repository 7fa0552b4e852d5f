"""Recheck: suspected keys are read again, until what they show is at rest, and only then told and mended.

In every round the store is read, then the history, then what is on its way, then the store again. So a row that is
missing or stale in the end was so after its writer had finished, and an orphan had no row after it was seen. A key is
told when two rounds in a row show the same; one whose row a living writer is about to write is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import polars as pl

from tiffin import clock
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import INGESTED_AT, TableSchema
from tiffin.ingest.compare import Comparison, Verdict, is_online_only
from tiffin.ingest.consistency import Difference, Kind
from tiffin.ingest.erased import Guard
from tiffin.ingest.expected import Expected
from tiffin.ingest.materialize import Route, write_frames
from tiffin.offline.base import Window
from tiffin.online.base import RANK_BYTES, Comparable, TableId
from tiffin.online.key_decode import KeyDecoder
from tiffin.online.layout import event_time

if TYPE_CHECKING:
    from tiffin.ingest.findings import Findings

#: Seconds before the second round, doubled with each more up to the longest.
_PAUSE: Final = 0.05
_LONGEST: Final = 1.0
#: So many rounds a key has at least to come to rest, however long they take.
_ROUNDS: Final = 4
_NO_KEY: Final = "its key is none of the table's entities"
_UNKNOWN_RANK: Final = "no row of the history has its rank"


class Winner(NamedTuple):
    """A row of the history, as a frame of one row and as it would be stored."""

    row: pl.DataFrame
    value: bytes


class Sight(NamedTuple):
    """What one round shows of a key: what is stored, what should be, and what is wrong with that."""

    held: bytes | None
    winner: Winner | None
    verdict: Verdict

    def same(self, other: Sight | None) -> bool:
        """Whether another round showed the same."""
        if other is None or (self.held, self.verdict) != (other.held, other.verdict):
            return False
        values = [None if sight.winner is None else sight.winner.value for sight in (self, other)]
        return values[0] == values[1]


class Recheck:
    """Reads suspected keys of one table again."""

    def __init__(
        self,
        route: Route,
        store: Comparable,
        table: TableSchema,
        findings: Findings,
        *,
        fix: bool,
        patience: float,
    ) -> None:
        self._route = route
        self._comparable = store
        self._table = table
        self._findings = findings
        self._fix = fix
        self._patience = patience
        self._id = TableId(table.project, table.name)
        self._decoder = KeyDecoder(table.keys)

    def run(self, keys: Sequence[bytes], control: Control = UNWATCHED) -> None:
        """Tell which of the keys differ, and mend them where that is asked for."""
        deadline = time.monotonic() + self._patience
        expected = Expected(self._route, self._table, filled=self._findings.filled)
        seen: dict[bytes, Sight] = {}
        told: dict[bytes, Sight] = {}
        pause, rounds = _PAUSE, 1
        left = list(dict.fromkeys(keys))
        while left:
            control.check()
            late = time.monotonic() > deadline
            sights = self._look(left, expected, control)
            again: list[bytes] = []
            for key, sight in sights.items():
                at_rest = sight.same(seen.get(key))
                if at_rest and (late or not self._is_coming(sight, expected)):
                    told[key] = sight
                elif late and rounds >= _ROUNDS:
                    self._findings.moving += 1
                else:
                    again.append(key)
            seen, left, rounds = sights, again, rounds + 1
            if left:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST)
        self._tell(told)
        if self._fix and told:
            self._mend(told, control)

    def _is_coming(self, sight: Sight, expected: Expected) -> bool:
        """Whether a living writer may be about to bring the row that is not there."""
        if sight.winner is None or sight.verdict[0] not in (Kind.MISSING, Kind.STALE):
            return False
        return expected.is_busy or sight.winner.row[INGESTED_AT].to_physical().item() in expected.on_their_way

    def _look(self, keys: Sequence[bytes], expected: Expected, control: Control) -> dict[bytes, Sight]:
        """One round; the keys that still differ, or that changed while they were looked at."""
        entities, strange = self._decoder.frame(keys)
        now = clock.now()
        first = dict(zip(keys, self._route.store.read(self._id, keys), strict=True))
        comparison = self._comparison(expected)
        winners = self._winners(entities, now + 1, comparison, control)
        expected.look()
        held = dict(zip(keys, self._route.store.read(self._id, keys), strict=True))
        unknown = set(strange)
        sights = {
            key: Sight(value, None, (Kind.ORPHANED, _NO_KEY))
            for key, value in held.items()
            if key in unknown and value is not None
        }
        known = [key for key in keys if key not in unknown]
        ahead = {key: value for key in known if (value := held[key]) and _is_ahead(value, winners.get(key))}
        exact = self._at_their_time(ahead, comparison, control)
        for key in known:
            sight = self._sight(held[key], winners.get(key), exact.get(key), expected, comparison, now)
            if sight is not None:
                sights[key] = sight if held[key] == first[key] else sight._replace(held=first[key])
        return sights

    def _comparison(self, expected: Expected) -> Comparison:
        return Comparison(self._table, self._route.store.layouts(self._id), outdated=expected.outdated)

    def _sight(
        self,
        held: bytes | None,
        winner: Winner | None,
        exact: Winner | None,
        expected: Expected,
        comparison: Comparison,
        now: int,
    ) -> Sight | None:
        """What is wrong with a row, if anything is."""
        if held is None:
            return None if winner is None else self._absent(winner, expected, now)
        verdict: Verdict | None
        if winner is not None and (len(held) < RANK_BYTES or not _is_ahead(held, winner)):
            verdict = comparison.verdict(winner.row, winner.value, held)
        elif exact is not None and exact.value[:RANK_BYTES] == held[:RANK_BYTES]:
            # A row that came after the instant of this round, or one of the near future that was pushed.
            verdict = comparison.verdict(exact.row, exact.value, held)
        elif is_online_only(held):
            self._findings.online_only += 1
            return None
        elif winner is None and exact is None:
            verdict = (Kind.ORPHANED, "the history has no row of its key")
        else:
            verdict = (Kind.DIFFERENT, _UNKNOWN_RANK)
        return None if verdict is None else Sight(held, winner or exact, verdict)

    def _absent(self, winner: Winner, expected: Expected, now: int) -> Sight | None:
        """What is wrong where nothing is stored."""
        excuse = expected.excuse(winner.row, now)
        if excuse is None:
            return Sight(None, winner, (Kind.MISSING, _missing(winner, expected)))
        self._findings.excuse(excuse)
        return None

    def _winners(
        self, entities: pl.DataFrame, end: int, comparison: Comparison, control: Control
    ) -> dict[bytes, Winner]:
        """The rows of greatest rank before an instant, by key."""
        if entities.is_empty():
            return {}
        budget = self._route.limits.memory_budget
        window = Window(end=end)
        found: dict[bytes, Winner] = {}
        guard = Guard(self._table, self._route.erased)
        frames = self._route.engine.latest(self._table, window, keys=entities, memory_budget=budget, control=control)
        for frame in frames:
            kept = guard.kept(frame)
            found |= {key: Winner(kept[at], value) for at, (key, value) in enumerate(comparison.encoded(kept))}
        return found

    def _at_their_time(
        self, ahead: dict[bytes, bytes], comparison: Comparison, control: Control
    ) -> dict[bytes, Winner]:
        """For rows that rank above the winner of their key: the row of greatest rank up to their own event time."""
        by_time: dict[int, list[bytes]] = {}
        for key, held in ahead.items():
            by_time.setdefault(event_time(held), []).append(key)
        found: dict[bytes, Winner] = {}
        for event, group in by_time.items():
            found |= self._winners(self._decoder.frame(group)[0], event + 1, comparison, control)
        return found

    def _tell(self, told: dict[bytes, Sight]) -> None:
        comparison = Comparison(self._table, self._route.store.layouts(self._id), outdated=False)
        for key, sight in told.items():
            if self._findings.counts(sight.verdict[0]):
                self._findings.show(self._difference(key, sight, comparison))

    def _difference(self, key: bytes, sight: Sight, comparison: Comparison) -> Difference:
        entities, strange = self._decoder.frame([key])
        named: dict[str, Any] = {"": key.hex()} if strange else entities.row(0, named=True)
        offline = None if sight.winner is None else comparison.offline(sight.winner.row)
        return Difference(sight.verdict[0], named, comparison.online(sight.held), offline, sight.verdict[1])

    def _mend(self, told: dict[bytes, Sight], control: Control) -> None:
        """Write the rows that should be there, and remove those that should not, unless somebody replaced them."""
        stored = [(key, sight.held, sight.winner) for key, sight in told.items() if sight.held is not None]
        orphans = [(key, held) for key, held, winner in stored if winner is None]
        self._findings.fixed += self._comparable.delete_if(self._id, orphans)
        winners = {key: sight.winner for key, sight in told.items() if sight.winner is not None}
        if not winners:
            return
        # No row of the history would be stored over these.
        ahead = [(key, held) for key, held, winner in stored if winner is not None and _is_ahead(held, winner)]
        self._comparable.delete_if(self._id, ahead)
        frame = pl.concat([winner.row for winner in winners.values()])
        identity = self._route.engine.position(self._table).identity
        write_frames(self._route, self._table, [frame], identity, control=control)
        after = self._route.store.read(self._id, list(winners))
        values = zip(winners.values(), after, strict=True)
        self._findings.fixed += sum(value is not None and not _is_older(value, winner) for winner, value in values)


def _is_ahead(held: bytes | None, winner: Winner | None) -> bool:
    """Whether a stored row ranks above the winner, or is too short to tell."""
    if held is None:
        return False
    return winner is None or len(held) < RANK_BYTES or held[:RANK_BYTES] > winner.value[:RANK_BYTES]


def _is_older(value: bytes, winner: Winner) -> bool:
    return value[:RANK_BYTES] < winner.value[:RANK_BYTES]


def _missing(winner: Winner, expected: Expected) -> str:
    if winner.row[INGESTED_AT].to_physical().item() in expected.on_their_way:
        return "its push did not reach the online store; `tiffin repair` finishes it"
    return "nothing is online under its key"
