"""Schedules: what several writers do to one table, and what is killed meanwhile, as a pure function of a seed.

Only the order, the contents and the pauses are fixed by the seed. How far a writer has come when it is killed is up to
the machine: a seed that failed fails again, if perhaps not at the first try.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

Kind = Literal["ingest", "push", "produce", "materialize", "compact", "kill"]

WRITERS: Final = 3
ACTS: Final = 18
#: The instant at which all events begin, in UTC microseconds.
BEGIN: Final = 1_780_000_000_000_000
SECOND: Final = 1_000_000
KEYS: Final = 9
#: What is killed beside writers. Without a second of rest the broker of tests has acknowledged what it has not written:
#: "broker" hangs up and is killed, "idle broker" is killed after such a second, with nothing told before.
SERVERS: Final = ("broker", "idle broker", "redis", "database")


class Act(NamedTuple):
    """One act: of ``writer``, or a kill of ``target``, which is back after ``away`` ms; ``pause`` ms after it.

    ``number`` is what keys of idempotency and origins of rows are made of; an act that is repeated by another writer
    has the number of the first.
    """

    kind: Kind
    number: int
    writer: int = 0
    target: str = ""
    away: int = 0
    pause: int = 0


class Schedule(NamedTuple):
    """All of one case: how messages are written, the number of partitions, and the acts in order."""

    seed: int
    form: Literal["json", "avro"]
    partitions: int
    acts: tuple[Act, ...]

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {self.form}, {self.partitions} partitions"]
        return "\n".join(lines + [_line(act) for act in self.acts])


def schedule(seed: int) -> Schedule:
    """The schedule of a seed. Every one kills a writer, the consumer and each server at least once."""
    draw = random.Random(seed)
    acts = list(_work(draw))
    targets = [f"writer {draw.randrange(WRITERS)}", "consumer", "redis", "database", draw.choice(SERVERS[:2])]
    targets += [draw.choice((f"writer {draw.randrange(WRITERS)}", "consumer", "redis")) for _ in range(2)]
    for target in targets:
        kill = Act("kill", -1, target=target, away=draw.randint(0, 150), pause=draw.randint(0, 60))
        acts.insert(draw.randint(3, len(acts)), kill)
    return Schedule(seed, draw.choice(("json", "avro")), draw.randint(1, 3), tuple(acts))


def _work(draw: random.Random) -> Iterator[Act]:
    """What writers do. Batches and pushes are now and then told a second time, while the first may be at work."""
    keyed: list[Act] = []
    for number in range(ACTS):
        writer, pause = draw.randrange(WRITERS), draw.choice((0, 0, 10, 30, 60))
        if keyed and draw.random() < 0.1:
            yield draw.choice(keyed)._replace(writer=writer, pause=pause)
            continue
        kinds: tuple[Kind, ...] = ("ingest", "push", "produce", "materialize", "compact")
        kind = draw.choices(kinds, (5, 6, 8, 2, 1))[0]
        act = Act(kind, number, writer, pause=pause)
        if kind in ("ingest", "push"):
            keyed.append(act)
        yield act


def rows_of(seed: int, number: int, attempt: int = 0) -> list[dict[str, Any]]:
    """The rows of an act. Times are few, so that ranks tie up to the commit; some rows delete their key.

    ``origin`` is unlike that of any other row. What a producer sends again are other messages, with another
    ``attempt``; a batch under its key has none but the first.
    """
    draw = random.Random(f"{seed} {number}")
    return [
        {
            "k": draw.randrange(KEYS),
            "at": BEGIN + draw.randrange(6) * 60 * SECOND,
            "made": BEGIN + draw.randrange(3) * SECOND,
            "gone": draw.random() < 0.1,
            "origin": f"{number}.{attempt}.{row}",
        }
        for row in range(draw.randint(1, 12))
    ]


def _line(act: Act) -> str:
    if act.kind == "kill":
        return f"  kill {act.target}, back after {act.away} ms; {act.pause} ms"
    return f"  writer {act.writer}: {act.kind} {act.number}; {act.pause} ms"
