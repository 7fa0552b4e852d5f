"""``python -m benchmarks``: measure, print, and write a page of the documentation."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import feast_environment, machine, report, runner, sections, serving, shapes, streams
from benchmarks.results import Results
from benchmarks.sections import Bench

DOCS = runner.ROOT / "docs"
#: The file and the sections of each page of the documentation.
PAGES = {
    "embedded": ("benchmarks.md", ("joins", "budget", "online", "materialize", "ingest", "startup")),
    "services": ("benchmarks-services.md", ("serving", "materialize_redis", "stream")),
}
SECTIONS = tuple(name for _, names in PAGES.values() for name in names)


def main() -> None:
    """Run what the command line asks for."""
    options = _options()
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # A log has no width of its own, and the tables want more than eighty columns.
    runner.WORK.mkdir(exist_ok=True)
    # The folder ignores itself, so that it needs no line elsewhere.
    (runner.WORK / ".gitignore").write_text("*\n")
    results = Results()
    bench = Bench(
        feast=feast_environment.python(),
        runs=options.runs,
        results=results,
        say=lambda line: console.print(line, style="dim", highlight=False, markup=False),
        quick=options.quick,
        slow=options.slow,
    )
    for name in options.sections:
        if name == "joins":
            sections.joins(bench, [shape for shape in shapes.JOINS if shape.name in options.shapes])
        elif name == "serving":
            serving.serving(bench)
        elif name == "stream":
            streams.stream(bench)
        else:
            getattr(sections, name)(bench)
    found = list(report.tables(results))
    described = [*machine.description(), *_versions(bench)]
    report.show(console, found)
    console.print("\n".join(described), highlight=False, markup=False)
    page = options.out or (DOCS / PAGES[options.page][0] if _is_whole(options) else None)
    if page is None:
        console.print("A partial run: the documentation is left as it is. Give --out to write a page.")
        return
    page.parent.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python -m benchmarks", *_shown(sys.argv[1:])])
    page.write_text(report.markdown(found, command=command, machine=described, runs=options.runs))
    console.print(f"Written: {page}", highlight=False, markup=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Tiffin beside Feast and the bare libraries."
    )
    names = tuple(shape.name for shape in shapes.JOINS)
    parser.add_argument("--shapes", type=_choice(names), default=names, help="the joins to run (default: all)")
    parser.add_argument("--page", choices=PAGES, default="embedded", help="the page to measure (default: embedded)")
    parser.add_argument("--sections", type=_choice(SECTIONS), help="the sections to run (default: those of the page)")
    parser.add_argument("--runs", type=int, default=3, help="fresh processes a number is the median of (default: 3)")
    parser.add_argument(
        "--out", type=Path, help="where the page goes (default: docs, after a run of all its sections only)"
    )
    parser.add_argument("--slow", action="store_true", help="Feast's slow stores on the large shapes too: minutes more")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of every size: shows that all works, measures little"
    )
    options = parser.parse_args()
    options.sections = options.sections or PAGES[options.page][1]
    return options


def _choice(known: tuple[str, ...]) -> "_Choice":
    return _Choice(known)


class _Choice:
    """An option's value as a comma-separated selection of known names."""

    def __init__(self, known: tuple[str, ...]) -> None:
        self.known = known

    def __call__(self, text: str) -> tuple[str, ...]:
        chosen = tuple(name.strip() for name in text.split(","))
        unknown = [name for name in chosen if name not in self.known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(self.known)}")
        return chosen


def _is_whole(options: argparse.Namespace) -> bool:
    return not options.quick and options.sections == PAGES[options.page][1] and len(options.shapes) == len(shapes.JOINS)


def _versions(bench: Bench) -> list[str]:
    lines = []
    for title, python, libraries in (
        ("Libraries", sys.executable, machine.LIBRARIES),
        ("Feast's environment", bench.feast, machine.FEAST_LIBRARIES),
    ):
        outcome = runner.task("benchmarks.machine:versions", {"libraries": libraries}, python=python)
        found = outcome.facts.get("versions", {})
        lines.append(f"{title}: {', '.join(f'{name} {version}' for name, version in found.items())}")
    return lines


def _shown(arguments: list[str]) -> list[str]:
    """The arguments without where the page goes: that may name a folder of the machine."""
    kept, skip = [], False
    for argument in arguments:
        if skip or argument.startswith("--out="):
            skip = False
            continue
        skip = argument == "--out"
        if not skip:
            kept.append(argument)
    return kept


if __name__ == "__main__":
    main()
