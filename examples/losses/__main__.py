"""Ask both stores and print what they answer. Feast is installed into an environment of its own on first use."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import feast_environment
from examples.losses import on_tiffin
from examples.losses.cases import CASES


def feast_answers() -> dict[str, object]:
    """The answers of Feast, by the names of the cases."""
    script = Path(__file__).with_name("on_feast.py")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [feast_environment.python(), script, folder], check=True, capture_output=True, text=True, cwd=folder
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    feast, tiffin = feast_answers(), on_tiffin.answers()
    table = Table("tried", "right", "Feast", "Tiffin", show_lines=True)
    for case in CASES:
        table.add_row(case.tried, str(case.right), str(feast[case.name]), str(tiffin[case.name]))
    Console().print(table)


if __name__ == "__main__":
    main()
