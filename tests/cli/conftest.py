"""The command line in this process and in its own, and a starter project to run it in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from tiffin.cli.main import app

TIFFIN = Path(sys.executable).with_name("tiffin")


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error object on stderr, after whatever was logged there."""
        start = self.err.index('{\n  "error"')
        return json.loads(self.err[start:])["error"]


Tiffin = Callable[..., Outcome]


def in_this_process(*arguments: str, code: int = 0) -> Outcome:
    """Run a command in this process; a code other than the expected one shows what it said."""
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    outcome = Outcome(result.exit_code, result.stdout, result.stderr)
    assert outcome.code == code, f"{arguments}: exit {outcome.code}\n{outcome.out}\n{outcome.err}"
    return outcome


@pytest.fixture(autouse=True)
def _no_width_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tests run in workers, these are told a width of the screen; commands would fold their tables to it."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def tiffin() -> Tiffin:
    """Run a command in this process."""
    return in_this_process


def in_own_process(*arguments: str, cwd: Path | None = None) -> Outcome:
    """Run the installed entry point."""
    result = subprocess.run([str(TIFFIN), *arguments], capture_output=True, text=True, cwd=cwd, check=False)
    return Outcome(result.returncode, result.stdout, result.stderr)


@pytest.fixture
def starter(tiffin: Tiffin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new starter project, which the test runs in."""
    place = tmp_path / "rides"
    tiffin("init", str(place))
    monkeypatch.chdir(place)
    return place


@pytest.fixture(scope="session")
def _kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("kept") / "rides"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIFFIN_CONFIG", str(place / "none.toml"))
        in_this_process("init", str(place))
        patch.chdir(place)
        in_this_process("apply")
        in_this_process("ingest", "driver_statistics", "data/driver_statistics.csv")
        in_this_process("materialize")
    return place


@pytest.fixture
def kept(_kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A filled project that tests share and must leave as it is; the test runs in it."""
    monkeypatch.chdir(_kept)
    return _kept


@pytest.fixture
def filled(starter: Path, tiffin: Tiffin) -> Path:
    """The starter project with everything applied, ingested and online."""
    tiffin("apply")
    tiffin("ingest", "driver_statistics", "data/driver_statistics.csv")
    tiffin("materialize")
    return starter
