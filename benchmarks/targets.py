"""The targets of the project, and whether this run reached them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks import streams
from benchmarks.results import (
    CONSUMER,
    FEAST,
    FEAST_DUCKDB,
    FEAST_REDIS,
    FEAST_SQLITE,
    POLARS,
    TIFFIN,
    TIFFIN_LMDB,
    TIFFIN_REDIS,
    Results,
)
from benchmarks.serving import IDLE, case
from benchmarks.shapes import BUDGET, BUDGET_MB, JOINS


@dataclass(frozen=True)
class Target:
    """A limit on one number. `measured` gives None when the run did not measure it."""

    text: str
    measured: Callable[[Results], float | None]
    limit: float
    unit: str = "x"
    at_least: bool = False

    def verdict(self, results: Results) -> str:
        found = self.measured(results)
        if found is None:
            return "not measured"
        shown = f"{found:.3g}{'' if self.unit == 'x' else ' '}{self.unit}"
        if (found >= self.limit) if self.at_least else (found <= self.limit):
            return f"reached: {shown}"
        short = self.limit / found if self.at_least else found / self.limit
        return f"short by {short:.2f}x: {shown}"


def targets() -> Iterator[Target]:
    """All that concern the embedded store, in the order of the sections."""
    for shape in JOINS:
        faster = 25 if shape.name == "s2deep" else 4
        text = f"{shape.name}: at least {faster}x faster than Feast's duckdb store"
        yield Target(text, _speed(shape.title, FEAST_DUCKDB), faster, at_least=True)
        yield Target(f"{shape.name}: at most the memory of Feast's duckdb store", _memory(shape.title, FEAST_DUCKDB), 1)
        if shape.name in ("s2", "s3", "s4"):
            yield Target(f"{shape.name}: within 1.3x of bare Polars", _slowness(shape.title, POLARS), 1.3)
    yield Target(
        f"a join of {BUDGET.rows * BUDGET.row_bytes / 1e6:.0f} MB finishes inside a budget of {BUDGET_MB} MB",
        _peak("budget", BUDGET.title),
        BUDGET_MB,
        "MB",
    )
    one_read = _seconds("online", "1 row x 5 features")
    yield Target("in-process read of one row below 30 us", lambda results: _scaled(one_read(results), 1e6), 30, "us")
    rows = "1 M rows x 5 features"
    yield Target(
        "materialise 1 M x 5: at least 80 k rows/s", _rate("materialize", rows), 80_000, "rows/s", at_least=True
    )
    yield Target("materialise 1 M x 5: below 500 MB", _peak("materialize", rows), 500, "MB")
    redis_rows = _rate("materialize_redis", rows)
    yield Target("materialise 1 M x 5 into Redis: at least 80 k rows/s", redis_rows, 80_000, "rows/s", at_least=True)
    yield Target("materialise 1 M x 5 into Redis: below 500 MB", _peak("materialize_redis", rows), 500, "MB")
    yield from _streamed()
    yield from _served()
    yield Target("import tiffin below 0.15 s", _seconds("startup", "import"), 0.15, "s")
    yield Target("tiffin --help below 0.4 s", _seconds("startup", "--help"), 0.4, "s")
    first = "first list_entities, new home"
    yield Target("first embedded list_entities in a fresh process below 1 s", _seconds("startup", first), 1, "s")
    many = "plan and apply 500 tables"
    yield Target("plan and apply of 500 tables below 2 s", _seconds("startup", many), 2, "s")


def _streamed() -> Iterator[Target]:
    case = streams.case(streams.EVENTS)

    def over(other: str, theirs: str) -> Callable[[Results], float | None]:
        def measured(results: Results) -> float | None:
            ours, found = results.get("stream", case, TIFFIN), results.get("stream", theirs, other)
            if ours is None or found is None:
                return None
            return (float(ours.fact("rows")) / ours.seconds) / (float(found.fact("rows")) / found.seconds)

        return measured

    def tail(results: Results) -> float | None:
        found = results.get("stream", streams.FRESH, TIFFIN)
        return None if found is None else found.median("p99")

    yield Target("stream of 1 M events: half the rate of a bare consumer", over(CONSUMER, case), 0.5, at_least=True)
    for rows in streams.PUSHES:
        pushes = streams.pushes(rows)
        yield Target(f"stream of 1 M events: 10x Feast, {pushes}", over(FEAST, pushes), 10, at_least=True)
    yield Target("an event is read online within a second (p99)", tail, 1, "s")


def _served() -> Iterator[Target]:
    """Of the online service."""
    small, large = case(1, 5, 16), case(100, 50, 16)
    for ours, theirs, factor in ((TIFFIN_REDIS, FEAST_REDIS, 12), (TIFFIN_LMDB, FEAST_SQLITE, 20)):
        yield Target(f"{small}: {ours}: {factor}x {theirs}", _faster(small, ours, theirs), factor, at_least=True)
        yield Target(f"{small}: {ours}: p99 below a tenth of {theirs}", _tail(small, ours, theirs), 0.1)
        yield Target(f"{large}: {ours}: 40x {theirs}", _faster(large, ours, theirs), 40, at_least=True)
        yield Target(f"{ours}: idle below 120 MB", _idle(ours, "peak_mb"), 120, "MB")
        yield Target(f"{ours}: up in less than a second", _idle(ours, "seconds"), 1, "s")


def _faster(case: str, one: str, other: str) -> Callable[[Results], float | None]:
    """How many times more requests a second."""

    def measured(results: Results) -> float | None:
        ours, theirs = results.get("serving", case, one), results.get("serving", case, other)
        return None if ours is None or theirs is None else ours.median("rate") / theirs.median("rate")

    return measured


def _tail(case: str, one: str, other: str) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        ours, theirs = results.get("serving", case, one), results.get("serving", case, other)
        return None if ours is None or theirs is None else ours.median("p99") / theirs.median("p99")

    return measured


def _idle(contender: str, attribute: str) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        found = results.get("serving", IDLE, contender)
        return None if found is None else float(getattr(found, attribute))

    return measured


def _speed(case: str, other: str) -> Callable[[Results], float | None]:
    """How many times faster Tiffin joins than `other`."""
    slowness = _slowness(case, other)

    def measured(results: Results) -> float | None:
        found = slowness(results)
        return None if found is None else 1 / found

    return measured


def _slowness(case: str, other: str) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        ours, theirs = results.get("joins", case, TIFFIN), results.get("joins", case, other)
        return None if ours is None or theirs is None else ours.seconds / theirs.seconds

    return measured


def _memory(case: str, other: str) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        ours, theirs = results.get("joins", case, TIFFIN), results.get("joins", case, other)
        return None if ours is None or theirs is None else ours.peak_mb / theirs.peak_mb

    return measured


def _seconds(section: str, case: str) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        found = results.get(section, case, TIFFIN)
        return None if found is None else found.seconds

    return measured


def _peak(section: str, case: str) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        found = results.get(section, case, TIFFIN)
        return None if found is None else found.peak_mb

    return measured


def _rate(section: str, case: str) -> Callable[[Results], float | None]:
    def measured(results: Results) -> float | None:
        found = results.get(section, case, TIFFIN)
        return None if found is None else float(found.fact("rows")) / found.seconds

    return measured


def _scaled(number: float | None, factor: float) -> float | None:
    return None if number is None else number * factor
