"""Help: there for every command, complete, and fast."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest
import typer
from typer.main import get_command

from tests.cli.conftest import TIFFIN, Tiffin, in_own_process
from tiffin.cli.main import COMMANDS, app
from tiffin.cli.reference import _commands

ROOT = get_command(app)
EVERY = dict(_commands(ROOT, typer.Context(ROOT, info_name="tiffin")))
HEAVY = {"polars", "sqlalchemy", "deltalake", "lmdb", "tiffin.client", "pyarrow", "pandas"}
RUNNABLE = {path: command for path, command in EVERY.items() if not hasattr(command, "commands")}


@pytest.mark.parametrize("path", EVERY)
def test_every_command_has_help(path: str, tiffin: Tiffin) -> None:
    words = path.split()[1:]
    shown = tiffin(*words, "--help").out
    assert f"Usage: {path}" in shown
    if path in RUNNABLE:
        assert f"Example:\n  $ {path}" in shown
        assert "--json" in shown


@pytest.mark.parametrize("path", RUNNABLE)
def test_every_option_says_what_it_means(path: str) -> None:
    for parameter in RUNNABLE[path].params:
        assert parameter.help, f"{path} {parameter.name}"
        assert parameter.metavar or getattr(parameter, "is_flag", False), f"{path} {parameter.name}"


def test_the_list_of_commands_tells_what_the_commands_tell() -> None:
    for entries in COMMANDS.values():
        for name, _, summary in entries:
            own = EVERY[f"tiffin {name}"].help.partition("\n\n")[0]
            assert " ".join(own.split()) == summary


def test_no_folder_is_made_by_asking_for_help(tmp_path, monkeypatch, tiffin: Tiffin) -> None:
    monkeypatch.chdir(tmp_path)
    tiffin("--help")
    tiffin("apply", "--help")
    tiffin("version")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.serial
def test_help_opens_fast() -> None:
    """Measured against the interpreter and its slowest library alone, so that a busy machine does not decide."""

    def seconds(*command: str) -> float:
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - begin

    floor = statistics.median(seconds(sys.executable, "-c", "import typer") for _ in range(5))
    taken = statistics.median(seconds(str(TIFFIN), "--help") for _ in range(5))
    assert taken < max(0.4, 2.5 * floor)


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["--version"], ["get-online-features", "--help"]])
def test_heavy_libraries_are_not_imported_for_help(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        f"sys.argv = ['tiffin', *{arguments!r}]\n"
        "from tiffin.cli.main import run\n"
        "try:\n    run()\n"
        "except SystemExit:\n    pass\n"
        f"sys.exit(', '.join({HEAVY} & set(sys.modules)) or None)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_help_has_no_colour_codes_where_nobody_sees_them() -> None:
    assert "\x1b" not in in_own_process("--help").out


def test_help_names_defaults_and_metavars(tiffin: Tiffin) -> None:
    shown = tiffin("ingest", "--help").out
    assert "--on-invalid reject|quarantine" in shown
    assert "[default: reject]" in shown
