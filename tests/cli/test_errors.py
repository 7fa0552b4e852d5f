"""What goes wrong: exit codes, words and quiet, through the installed entry point where a process matters."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import TIFFIN, Tiffin, in_own_process
from tiffin.cli import progress
from tiffin.cli.main import app
from tiffin.cli.output import plain
from tiffin.jobs.base import IngestionJob
from tiffin.jobs.local import LocalLauncher
from tiffin.jobs.record import JobRecord, JobStatus, JobType, Outcome
from tiffin.jobs.store import JobStore
from tiffin.registry.database import open_database


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["aply"], "Did you mean 'apply'?"),
        (["apply", "--fil", "x"], "--fil"),
        (["entities", "shwo"], "shwo"),
        (["ingest"], "TABLE"),
        (["get-online-features"], "--features"),
        (["feature-tables", "diff", "t", "one", "2"], "'A'"),
        (["ingest", "t", "s", "--on-invalid", "ignore"], "ignore"),
    ],
)
def test_a_misused_command_exits_2_with_what_to_do(arguments: list[str], says: str, tiffin: Tiffin) -> None:
    outcome = tiffin(*arguments, code=2)
    first, *rest = outcome.err.splitlines()
    assert first.startswith("error: ")
    assert says in outcome.err
    assert rest[-1].startswith("hint: See 'tiffin")
    assert outcome.out == ""
    machine = tiffin(*arguments, "--json", code=2)
    assert machine.out == ""
    assert machine.error["code"] == "usage"


def test_a_group_alone_shows_its_help(tiffin: Tiffin) -> None:
    assert "Usage: tiffin jobs" in tiffin("jobs", code=2).out
    assert "Usage: tiffin" in tiffin(code=2).out


def test_the_entry_point_tells_errors_on_stderr_alone(tmp_path: Path) -> None:
    outcome = in_own_process("feature-tables", "describe", "nothing", "--home", str(tmp_path), "--json")
    assert outcome.code == 1
    assert outcome.out == ""
    assert json.loads(outcome.err)["error"]["code"] == "not_found"
    outcome = in_own_process("nonsense")
    assert outcome.code == 2
    assert "Traceback" not in outcome.err


def test_an_unreachable_server_is_an_error_not_a_traceback(tmp_path: Path, tiffin: Tiffin) -> None:
    (tmp_path / "home").write_text("a file")
    outcome = tiffin("entities", "list", "--home", str(tmp_path / "home"), code=1)
    assert outcome.err.startswith("error: ")


def test_a_reader_that_leaves_early_is_no_noise(tmp_path: Path) -> None:
    command = f"'{TIFFIN}' config list --all | head -n 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.stderr == ""
    command = f"'{TIFFIN}' config list --json | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.stderr == ""


def test_an_interrupt_exits_130_without_a_traceback(starter: Path) -> None:
    Path("slow.py").write_text("import time\nfrom pathlib import Path\nPath('here').touch()\ntime.sleep(60)\n")
    process = subprocess.Popen([str(TIFFIN), "plan", "-f", "slow.py"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not Path("here").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said


def test_an_interrupt_cancels_the_job_that_is_watched(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = threading.Event()
    watch_lines = progress._watch_lines

    def begin(job: Any) -> None:
        watched.set()
        watch_lines(job)

    monkeypatch.setattr(progress, "_watch_lines", begin)
    # Whoever runs the tests in the background may have them begin with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    class Endless:
        def run(self, control: Any) -> Outcome:
            control.log("begun")
            control.progress(1, 2)
            # The interrupt must find the watcher at its work, not this test on the way there.
            watched.wait()
            os.kill(os.getpid(), signal.SIGINT)
            while True:
                control.check()
                time.sleep(0.01)

    database = open_database(f"sqlite:///{home / 'registry.db'}")
    store = JobStore(database)
    launcher = LocalLauncher(store)
    record = JobRecord("j1", JobType.BATCH_INGESTION, "default", ("t",), JobStatus.STARTING, start=0)
    task = launcher.submit(record, Endless())
    try:
        with pytest.raises(KeyboardInterrupt):
            progress.watch(IngestionJob(task.record, store, task), "Materializing t")
    finally:
        signal.signal(signal.SIGINT, before)
        task.control.cancel()
    assert store.get("j1").status is JobStatus.CANCELLED
    assert "was cancelled" in capsys.readouterr().err
    launcher.close()
    database.dispose()


def test_a_stream_of_few_letters_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    Path(os.environ["TIFFIN_CONFIG"]).write_text('staging_location = "/tmp/müll"\n')
    outcome = in_own_process("config", "list", cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    answer = in_own_process("config", "get", "staging_location", "--json", cwd=tmp_path)
    assert answer.json["value"] == "/tmp/müll"


def test_warnings_are_a_line_on_stderr(starter: Path) -> None:
    text = Path("features.py").read_text().replace('"trips_today"', '"job_id"').replace(":trips_today", ":job_id")
    Path("features.py").write_text(text)
    outcome = in_own_process("plan", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["changes"]
    (line,) = outcome.err.splitlines()
    assert line.startswith("warning: ")
    assert "job_id" in line


def test_on_a_terminal_errors_have_colour_and_no_progress_is_left(kept: Path) -> None:
    said = in_terminal("materialize")
    assert "5 rows" in said
    said = in_terminal("config", "get", "projct")
    assert "\x1b[1;31merror:" in said
    assert "Did you mean 'project'?" in said
    assert "\x1b[" not in in_terminal("config", "get", "projct", NO_COLOR="1", TERM="dumb")


def in_terminal(*arguments: str, **environment: str) -> str:
    """What a command says where both streams are a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [str(TIFFIN), *arguments], stdout=slave, stderr=slave, env={**os.environ, "COLUMNS": "100", **environment}
    )
    os.close(slave)
    said = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # the other end was closed
            break
        if not chunk:
            break
        said += chunk
    os.close(master)
    process.wait(timeout=30)
    return said.decode()


def test_what_json_lacks_is_written_as_text() -> None:
    assert plain([float("nan"), float("inf"), -float("inf"), b"\x00", 1.5, None]) == [
        "NaN",
        "Infinity",
        "-Infinity",
        "AA==",
        1.5,
        None,
    ]


def test_the_installed_script_is_this_app() -> None:
    assert app.info.name == "tiffin"
    assert (
        in_own_process("--version").out
        == subprocess.run(
            [sys.executable, "-c", "import tiffin; print(tiffin.__version__)"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
