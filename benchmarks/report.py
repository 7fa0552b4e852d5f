"""The same tables twice: for the terminal and for ``docs/benchmarks.md``."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.results import (
    FEAST_REDIS,
    FEAST_SQLITE,
    POLARS,
    TIFFIN,
    TIFFIN_LMDB,
    TIFFIN_REDIS,
    Measurement,
    Results,
)
from benchmarks.shapes import BUDGET, BUDGET_MB, MAX_AGE, SPAN
from benchmarks.targets import targets

NOT_MEASURED = "-"
#: Servers are compared with Tiffin's over a store of the same kind; all others with Tiffin alone.
YARDSTICKS = {
    TIFFIN_REDIS: TIFFIN_REDIS,
    FEAST_REDIS: TIFFIN_REDIS,
    TIFFIN_LMDB: TIFFIN_LMDB,
    FEAST_SQLITE: TIFFIN_LMDB,
}


@dataclass(frozen=True)
class Table:
    """A table of plain text, with a sentence or two on what its numbers mean."""

    title: str
    explanation: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(results: Results) -> Iterator[Table]:
    """The sections that were measured, then the targets."""
    for name, (title, explanation, last, note) in SECTIONS.items():
        found = results.section(name)
        if found:
            header = ["case", "contender", "median", "peak memory", "time / Tiffin", "memory / Tiffin", last]
            yield Table(title, explanation, header, [_row(results, one, note) for one in found])
    agreement = [[one.case, _agreement(one)] for one in results.section("agreement")]
    if agreement:
        explanation = (
            "Tiffin's answer compared with that of bare Polars, once a shape: value by value and row by row; for the "
            "join under a memory budget, by which rows won."
        )
        yield Table("Agreement", explanation, ["shape", "answers"], agreement)
    verdicts = [[target.text, target.verdict(results)] for target in targets() if target.measured(results) is not None]
    yield Table("Targets", "Ratios are taken inside this run.", ["target", "in this run"], verdicts)


def _row(results: Results, one: Measurement, note: Callable[[Results, Measurement], str]) -> list[str]:
    if one.error:
        return [one.case, one.contender, "failed", *[NOT_MEASURED] * 4]
    ours = results.get(one.section, one.case, YARDSTICKS.get(one.contender, TIFFIN))
    time = memory = NOT_MEASURED
    if ours is not None and ours is not one:
        time, memory = f"{one.seconds / ours.seconds:.2f}x", f"{one.peak_mb / ours.peak_mb:.2f}x"
    return [one.case, one.contender, _time(one.seconds), f"{one.peak_mb:.0f} MB", time, memory, note(results, one)]


def _answer_note(results: Results, one: Measurement) -> str:
    """How the answer compares with that of bare Polars, from outside: rows, and which feature rows won."""
    bare = results.get(one.section, one.case, POLARS)
    if bare is None or one.winners == bare.winners:
        return "same" if bare else NOT_MEASURED
    lost = bare.fact("rows") - one.fact("rows")
    return f"differs: {lost} rows lost" if lost else "differs: other rows won"


def _budget_note(_: Results, one: Measurement) -> str:
    if one.contender != TIFFIN:
        return "no budget"
    return f"{one.peak_mb / BUDGET_MB:.2f}x, {one.fact('before_mb'):.0f} MB before the join"


def _rate_note(_: Results, one: Measurement) -> str:
    return f"{one.fact('rows') / one.seconds:,.0f}".replace(",", " ")


def _tail_note(_: Results, one: Measurement) -> str:
    return _time(one.fact("p99"))


def _stream_note(results: Results, one: Measurement) -> str:
    return _time(one.median("p99")) if one.fact("p99") else _rate_note(results, one)


def _load_note(_: Results, one: Measurement) -> str:
    if not one.fact("rate"):
        return ""
    rate = f"{one.median('rate'):,.0f}".replace(",", " ")
    failed = sum(run.facts["failed"] for run in one.runs)
    unanswered = f", {failed} of {sum(run.facts['requests'] for run in one.runs)} without an answer" if failed else ""
    return f"{rate}/s, {_time(one.median('p99'))}{unanswered}"


def _no_note(_: Results, __: Measurement) -> str:
    return ""


def _agreement(one: Measurement) -> str:
    if one.error:
        return "not compared: failed"
    return f"differ: {one.fact('difference')}" if one.fact("difference") else "equal"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


SECTIONS: dict[str, tuple[str, str, str, Callable[[Results, Measurement], str]]] = {
    "joins": (
        "Point-in-time join",
        (
            "Feature rows x entity rows, both in Parquet files on the local disk, to an Arrow table in memory. The "
            f"event times span {SPAN.days} days, the max age is {MAX_AGE.days} days, a tenth of the rows tie on event "
            "time and are told apart by the created timestamp. Tables are applied before the clock starts."
        ),
        "answer",
        _answer_note,
    ),
    "budget": (
        "Join under a memory budget",
        (
            f"The input holds {BUDGET.rows * BUDGET.row_bytes / 1e6:.0f} MB in memory, ten times the {BUDGET_MB} MB "
            "that Tiffin is given; its answer goes to files. The peak is of the whole process, interpreter and "
            "libraries included."
        ),
        "peak / budget",
        _budget_note,
    ),
    "online": (
        "Online read, in process",
        (
            "From the call to plain Python values, median over many calls with random keys that exist. Tiffin reads "
            "its embedded LMDB store and Feast its SQLite store, with names and statuses; bare LMDB gets and unpacks "
            "tuples."
        ),
        "99th percentile",
        _tail_note,
    ),
    "materialize": (
        "Materialise into the embedded online store",
        (
            "Parquet on disk, one event a key, to an empty online store. Bare LMDB puts packed rows in transactions "
            "of ten thousand and compares nothing; Feast writes to SQLite."
        ),
        "rows/s",
        _rate_note,
    ),
    "materialize_redis": (
        "Materialise into Redis",
        (
            "The same into an empty Redis on the same machine, which takes a part of its two cores. Tiffin compares "
            "ranks in Redis; bare redis-py sends pipelined SETs and compares nothing. The memory is the client's."
        ),
        "rows/s",
        _rate_note,
    ),
    "stream": (
        "Streams into Redis and the history",
        (
            "A topic of Avro events of five features, of ten times as many events as keys, one partition, read from "
            "its beginning to its end; joining the group is in the time. Tiffin decodes, validates, commits to a "
            "Delta table on disk and compares ranks in Redis; the bare consumer puts messages as they are into Redis "
            "as pipelined SETs, ten thousand at once. Feast's way for streams are pushes of frames, online alone. "
            "Broker, Redis and client share the machine. One event at a time: the median, and the 99th percentile, of "
            "the time from its production until it is read online, with the options as they come."
        ),
        "rows/s, or p99",
        _stream_note,
    ),
    "serving": (
        "Online read over HTTP",
        (
            "`POST /get-online-features`, Feast's contract, JSON, one worker process, random keys that exist, wrk on "
            "the same machine for eight seconds after a warm-up. The median is of the answer's latency, the memory "
            "is the server's resident set; `start` is the time from starting the process to the first answer of "
            "/health. Ratios are against Tiffin on the store of the same kind: Redis, or the one in the process."
        ),
        "requests/s, p99",
        _load_note,
    ),
    "ingest": (
        "Ingest",
        (
            "A Parquet file on disk appended to an empty Delta table. Tiffin validates and ranks every row; bare "
            "delta-rs only writes."
        ),
        "rows/s",
        _rate_note,
    ),
    "startup": (
        "Start-up",
        (
            "Fresh processes with compiled files in place. `import` is timed inside the process, `--help` and `first "
            "list_entities` are whole processes: `new home` makes the registry, `known home` finds it. Feast plans "
            "inside its apply."
        ),
        "",
        _no_note,
    ),
}

METHOD = (
    "Every number is the median of {runs} runs, each in a fresh process; the contenders take turns. Work on tables is "
    "done once on a tiny one before the clock starts, so imports and first-use costs are not in it, and files are in "
    "the operating system's cache. Peak memory is the largest resident set of the process, libraries included. "
    "Absolute times move from machine to machine: read the ratios. A ratio above 1 means that the contender took more "
    "than Tiffin."
)


def show(console: Console, found: Sequence[Table]) -> None:
    """Draw the tables on a terminal."""
    for table in found:
        drawn = RichTable(title=table.title, caption=table.explanation, title_justify="left", caption_justify="left")
        for name in table.header:
            drawn.add_column(name, overflow="fold")
        before = ""
        for first, *others in table.rows:
            # A case is named once, above its contenders.
            drawn.add_row("" if first == before else first, *others)
            before = first
        console.print(drawn)
        console.print()


def markdown(found: Sequence[Table], *, command: str, machine: Sequence[str], runs: int) -> str:
    """The page of the documentation."""
    lines = [
        "# Benchmarks",
        "",
        f"Made by `{command}` and not edited by hand. The harness is `benchmarks/`.",
        "",
        *[f"- {line}" for line in machine],
        "",
        METHOD.format(runs=runs),
    ]
    for table in found:
        lines += [
            "",
            f"## {table.title}",
            "",
            table.explanation,
            "",
            _line(table.header),
            "|--" * len(table.header) + "|",
        ]
        lines += [_line(row) for row in table.rows]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
