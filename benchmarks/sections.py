"""What is run, section by section. Contenders take turns: a busy minute of the machine touches them all alike."""

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import data, runner, servers, shapes
from benchmarks.results import (
    DELTA,
    DUCKDB,
    FEAST,
    FEAST_DEFAULT,
    FEAST_DUCKDB,
    LMDB,
    POLARS,
    REDIS,
    TIFFIN,
    Results,
)
from benchmarks.runner import WORK, Outcome
from benchmarks.shapes import Shape

# Feast's default store needs minutes on the other shapes.
FEAST_DEFAULT_SHAPES = ("s1", "s2")
APPLIED_TABLES = 500


@dataclass(frozen=True)
class Bench:
    """How this run measures: its interpreters, its repetitions, and where it reports to."""

    feast: Path
    runs: int
    results: Results
    say: Callable[[str], None]
    quick: bool = False
    slow: bool = False

    def sized(self, shape: Shape) -> Shape:
        return shape.shrunk(10) if self.quick else shape

    def prepared(self, shape: Shape) -> dict[str, Any]:
        """The parameters of the tasks on a shape, once its files are there."""
        found = data.parameters(WORK, shape)
        made = runner.task("benchmarks.data:generate", found)
        if made.error:
            raise RuntimeError(f"the data of {shape.name} could not be generated: {made.error}")
        return found

    def record(self, section: str, case: str, contender: str, outcome: Outcome) -> None:
        self.results.add(section, case, contender, outcome)
        if outcome.error:
            self.say(f"{section}: {case}: {contender}: {outcome.error}")
        else:
            self.say(f"{section}: {case}: {contender}: {outcome.seconds:.6g} s, {outcome.peak_mb:.0f} MB")


def joins(bench: Bench, wanted: Sequence[Shape]) -> None:
    """Point-in-time joins, each followed once by a comparison of Tiffin's answer with that of bare Polars."""
    warm = bench.prepared(shapes.WARM)
    for shape in map(bench.sized, wanted):
        found = {**bench.prepared(shape), "warm": warm}
        for _ in range(bench.runs):
            _join_once(bench, shape, found)
        agreement = runner.task("benchmarks.on_tiffin:agrees", _only_data(found), needs_home=True)
        bench.record("agreement", shape.title, TIFFIN, agreement)


def _join_once(bench: Bench, shape: Shape, found: dict[str, Any]) -> None:
    def record(contender: str, outcome: Outcome) -> None:
        bench.record("joins", shape.title, contender, outcome)

    record(TIFFIN, runner.task("benchmarks.on_tiffin:join", found, needs_home=True))
    record(POLARS, runner.task("benchmarks.on_libraries:polars_join", found))
    record(DUCKDB, runner.task("benchmarks.on_libraries:duckdb_join", found, python=bench.feast))
    for contender, store in ((FEAST_DUCKDB, "duckdb"), (FEAST_DEFAULT, "dask")):
        if contender == FEAST_DUCKDB or bench.slow or shape.name in FEAST_DEFAULT_SHAPES:
            asked = {**found, "offline": store}
            record(contender, runner.task("benchmarks.on_feast:join", asked, python=bench.feast, needs_home=True))


def budget(bench: Bench) -> None:
    """A join whose input is ten times the memory it may use.

    Bare Polars has no such limit and takes many gigabytes: it joins the whole only in a slow run. To check which rows
    won, it joins the one feature that numbers them.
    """
    shape = bench.sized(shapes.BUDGET)
    found = bench.prepared(shape)
    asked = {**found, "budget_mb": shapes.BUDGET_MB}
    ours = Outcome()
    for _ in range(bench.runs):
        ours = runner.task("benchmarks.on_tiffin:join_to_files", asked, needs_home=True)
        bench.record("budget", shape.title, TIFFIN, ours)
    whole = {**found, "warm": bench.prepared(shapes.WARM)}
    if bench.slow:
        bench.record("budget", shape.title, POLARS, runner.task("benchmarks.on_libraries:polars_join", whole))
    narrow = {**whole, "shape": {**found["shape"], "features": 1}}
    theirs = runner.task("benchmarks.on_libraries:polars_join", narrow)
    error = ours.error or theirs.error
    difference = "" if ours.winners == theirs.winners else f"winners {ours.winners} and {theirs.winners}"
    checked = Outcome(seconds=0.0, peak_mb=theirs.peak_mb, facts={"difference": difference}, error=error)
    bench.record("agreement", shape.title, TIFFIN, checked)


def online(bench: Bench) -> None:
    """Reads in process, without a server: one row of five features, a hundred rows of fifty."""
    for shape, rows, times in zip(shapes.ONLINE, (1, 100), (5000, 300), strict=True):
        case = f"{rows} row{'s' if rows > 1 else ''} x {shape.features} features"
        found = bench.prepared(shape)
        with tempfile.TemporaryDirectory(prefix="scratch-", dir=WORK) as scratch:
            _online_once(bench, case, found, {"shape": found["shape"], "rows": rows, "times": times}, Path(scratch))


def _online_once(bench: Bench, case: str, found: dict[str, Any], asked: dict[str, Any], scratch: Path) -> None:
    """Each store is filled once, by a process of its own, so that the memory of a reader is that of reading."""
    contenders = (
        (TIFFIN, "on_tiffin:fill", "on_tiffin:read", sys.executable, asked["times"]),
        (LMDB, "on_libraries:lmdb_fill", "on_libraries:lmdb_read", sys.executable, asked["times"]),
        (FEAST, "on_feast:fill", "on_feast:read", str(bench.feast), asked["times"] // 5),
    )
    for contender, fill, _, python, _ in contenders:
        home = scratch / contender
        home.mkdir()
        filled = runner.task(f"benchmarks.{fill}", {**found, "home": str(home)}, python=python)
        if filled.error:
            bench.say(f"online: {case}: {contender}: not filled: {filled.error}")
    for _ in range(bench.runs):
        for contender, _, read, python, times in contenders:
            wanted = {**asked, "times": times, "home": str(scratch / contender)}
            bench.record("online", case, contender, runner.task(f"benchmarks.{read}", wanted, python=python))


def materialize(bench: Bench) -> None:
    """One table, one event a key, into an empty online store."""
    for number, shape in enumerate(map(bench.sized, shapes.FLAT)):
        case = f"{shapes.count(shape.rows)} rows x {shape.features} features"
        found = {**bench.prepared(shape), "warm": bench.prepared(shapes.WARM)}
        for _ in range(bench.runs):
            outcome = runner.task("benchmarks.on_tiffin:materialize", found, needs_home=True)
            bench.record("materialize", case, TIFFIN, outcome)
            outcome = runner.task("benchmarks.on_libraries:lmdb_write", found, needs_home=True)
            bench.record("materialize", case, LMDB, outcome)
            if bench.slow or number == 0:
                outcome = runner.task("benchmarks.on_feast:materialize", found, python=bench.feast, needs_home=True)
                bench.record("materialize", case, FEAST, outcome)


def materialize_redis(bench: Bench) -> None:
    """The same into a Redis of its own, empty for every contender."""
    for number, shape in enumerate(map(bench.sized, shapes.FLAT)):
        case = f"{shapes.count(shape.rows)} rows x {shape.features} features"
        found = {**bench.prepared(shape), "warm": bench.prepared(shapes.WARM)}
        for _ in range(bench.runs):
            for contender, work, python in (
                (TIFFIN, "on_tiffin:materialize", sys.executable),
                (REDIS, "on_libraries:redis_write", sys.executable),
                (FEAST, "on_feast:materialize", str(bench.feast)),
            ):
                if contender == FEAST and number > 0 and not bench.slow:
                    continue
                with tempfile.TemporaryDirectory(prefix="scratch-", dir=WORK) as scratch:
                    server, address = servers.redis(Path(scratch))
                    with server:
                        online = address if contender == FEAST else f"redis://{address}/0"
                        outcome = runner.task(
                            f"benchmarks.{work}", {**found, "online": online}, python=python, needs_home=True
                        )
                bench.record("materialize_redis", case, contender, outcome)


def ingest(bench: Bench) -> None:
    """One Parquet file into an empty table, flat and partitioned by day."""
    shape = bench.sized(shapes.INGEST)
    for partitioned in (False, True):
        case = f"{shapes.count(shape.rows)} rows, {'one folder a day' if partitioned else 'one folder'}"
        asked = {**bench.prepared(shape), "warm": bench.prepared(shapes.WARM), "partitioned": partitioned}
        for _ in range(bench.runs):
            bench.record("ingest", case, TIFFIN, runner.task("benchmarks.on_tiffin:ingest", asked, needs_home=True))
            outcome = runner.task("benchmarks.on_libraries:delta_write", asked, needs_home=True)
            bench.record("ingest", case, DELTA, outcome)


def startup(bench: Bench) -> None:
    """Fresh processes. A first round, which writes the compiled files of each library, is not counted."""
    for counted in (False, *[True] * bench.runs):
        record = bench.record if counted else _forget
        with tempfile.TemporaryDirectory(prefix="scratch-", dir=WORK) as scratch:
            _start_once(bench, record, Path(scratch))
    found = bench.prepared(shapes.WARM)
    tables = APPLIED_TABLES // 10 if bench.quick else APPLIED_TABLES
    asked = {**found, "tables": tables}
    case = f"plan and apply {tables} tables"
    for _ in range(bench.runs):
        bench.record("startup", case, TIFFIN, runner.task("benchmarks.on_tiffin:apply", asked, needs_home=True))
        outcome = runner.task("benchmarks.on_feast:apply", asked, python=bench.feast, needs_home=True)
        bench.record("startup", case, FEAST, outcome)


def _start_once(bench: Bench, record: Callable[[str, str, str, Outcome], None], scratch: Path) -> None:
    def run(case: str, contender: str, *arguments: str) -> None:
        record("startup", case, contender, runner.command(arguments, cwd=scratch))

    ours, theirs = sys.executable, str(bench.feast)
    clock = "import time; started = time.perf_counter(); import {}; print(time.perf_counter() - started)"
    run("import", TIFFIN, ours, "-c", clock.format("tiffin"))
    run("import", FEAST, theirs, "-c", clock.format("feast"))
    run("--help", TIFFIN, _script(ours, "tiffin"), "--help")
    run("--help", FEAST, _script(theirs, "feast"), "--help")
    first = "from tiffin import Client; Client(home='new').list_entities()"
    run("first list_entities, new home", TIFFIN, ours, "-c", first)
    run("first list_entities, known home", TIFFIN, ours, "-c", first)
    first = "from benchmarks.on_feast import list_entities; list_entities('.')"
    run("first list_entities, new home", FEAST, theirs, "-c", first)
    run("first list_entities, known home", FEAST, theirs, "-c", first)


def _script(python: str, name: str) -> str:
    """The command as a user runs it, from the folder of its interpreter."""
    return str(Path(python).parent / name)


def _only_data(found: dict[str, Any]) -> dict[str, Any]:
    return {"shape": found["shape"], "data": found["data"]}


def _forget(*_: object) -> None:
    """An uncounted outcome."""
