"""Feast in a virtual environment of its own, made on first use: its pinned libraries are not the project's."""

import subprocess
import sys
from pathlib import Path

from benchmarks.runner import WORK

REQUIREMENT = "feast[duckdb,redis]==0.67.0"


def python() -> Path:
    """The interpreter of Feast's environment, which is created and filled if it is not there.

    The file ``ready`` is written last and names the requirement: an interrupted or older installation is made anew.
    """
    folder = WORK / "feast"
    ready = folder / "ready"
    interpreter = folder / "bin" / "python"
    if ready.exists() and ready.read_text() == REQUIREMENT:
        return interpreter
    print(f"Installing {REQUIREMENT} into a virtual environment of its own (a minute, 700 MB) ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    subprocess.run([str(interpreter), "-m", "pip", "install", "--quiet", REQUIREMENT], check=True)
    ready.write_text(REQUIREMENT)
    return interpreter
