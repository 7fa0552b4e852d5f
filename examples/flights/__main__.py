"""``python -m examples.flights``: the flights demo."""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from pathlib import Path

from rich.console import Console

from examples.flights.story import Story


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.flights", description="From raw tables to a served model in nine steps."
    )
    parser.add_argument("--home", type=Path, help="a folder to keep (default: a temporary one, removed at the end)")
    parser.add_argument(
        "--results", type=Path, default=Path(".demo"), help="a folder for the model and its plots (default: .demo)"
    )
    parser.add_argument("--rows", type=int, help="judge only the first so many flights (default: all 336,776)")
    options = parser.parse_args()
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory(prefix="tiffin-flights-") as temporary:
        folder = (options.home or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        results = options.results.absolute()
        before = Path.cwd()
        os.chdir(folder)  # where Client() makes its store, and from where the paths of sources are meant
        try:
            console = Console(highlight=False)
            if not console.is_terminal:
                console.width = 110  # a log has no width of its own
            Story(console, folder, results, rows=options.rows).tell()
        finally:
            os.chdir(before)  # a folder cannot be removed on every system while someone stands in it


if __name__ == "__main__":
    main()
