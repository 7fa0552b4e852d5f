"""The parent's side of a measurement: start a fresh process, wait, and collect seconds and peak memory.

The parent must stay small: the operating system counts the memory of a forked parent into the child's peak.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import clock

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".bench"


@dataclass(frozen=True)
class Outcome:
    """What one fresh process reported. `error` is the last line of its complaint when it failed."""

    seconds: float = float("nan")
    peak_mb: float = float("nan")
    facts: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def winners(self) -> tuple[Any, ...]:
        """The fingerprint of a join's answer: rows, rows with a winner, sum of the winners' numbers."""
        return tuple(self.facts.get(name) for name in ("rows", "matched", "winners"))


def task(
    name: str,
    parameters: dict[str, Any],
    *,
    python: Path | str = sys.executable,
    needs_home: bool = False,
    timeout_sec: float = 1800,
) -> Outcome:
    """Run ``module:function`` with `parameters` in a process of its own, in an empty folder thrown away afterwards.

    With `needs_home` the task is also given the path of a fresh folder as `home`.
    """
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=WORK) as scratch:
        folder = Path(scratch)
        home = folder / "home"
        home.mkdir()
        given = {**parameters, "home": str(home)} if needs_home else parameters
        (folder / "parameters.json").write_text(json.dumps(given))
        command = [
            str(python),
            "-m",
            "benchmarks.worker",
            name,
            str(folder / "parameters.json"),
            str(folder / "answer.json"),
        ]
        try:
            ended = subprocess.run(
                command, cwd=home, env=environment(), capture_output=True, text=True, timeout=timeout_sec
            )
        except subprocess.TimeoutExpired:
            return Outcome(error=f"not done after {timeout_sec:.0f} s")
        if ended.returncode != 0:
            return Outcome(error=_complaint(ended.returncode, ended.stderr))
        found = json.loads((folder / "answer.json").read_text())
    return Outcome(seconds=found.pop("seconds"), peak_mb=found.pop("peak_mb"), facts=found)


def command(arguments: Sequence[str], *, cwd: Path, timeout_sec: float = 120) -> Outcome:
    """Time a whole process from start to end. If the last line it prints is a number, that is taken for the seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(list(arguments), cwd=cwd, env=environment(), stdout=out, stderr=err)
        try:
            code, peak = _wait(process, started + timeout_sec)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return Outcome(error=f"not done after {timeout_sec:.0f} s")
        spent = time.perf_counter() - started
        out.seek(0)
        err.seek(0)
        if code != 0:
            return Outcome(error=_complaint(code, err.read().decode(errors="replace")))
        lines = out.read().decode(errors="replace").split()
    with contextlib.suppress(ValueError):  # Text, not a number: the time of the whole process stands.
        spent = float(lines[-1]) if lines else spent
    return Outcome(seconds=spent, peak_mb=peak)


def environment() -> dict[str, str]:
    """The caller's environment without settings of Tiffin's or Feast's, so that only the benchmark decides."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIFFIN_", "FEAST_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


def _wait(process: "subprocess.Popen[bytes]", deadline: float) -> tuple[int, float]:
    """Wait as ``Popen.wait`` does, and bring the child's peak memory with it."""
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, clock.megabytes(usage.ru_maxrss)
        if time.perf_counter() > deadline:
            raise subprocess.TimeoutExpired(process.args, deadline)
        time.sleep(0.001)


def _complaint(code: int, text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {code}"
