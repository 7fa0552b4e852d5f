"""A compaction or vacuum that is killed at any step leaves the table whole, and the next one finishes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.lakes import data_files, drivers, live_files, put, rows, stored
from tiffin.offline import area, clean_up, compact, rewrite, vacuum

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.offline.test_compact_kill"])

#: Where a process is killed: the module, what is called there, whether before or after it, and at which of its calls.
POINTS: dict[str, tuple[Any, str, str, int]] = {
    "while files are written": (area.Area, "save", "after", 1),
    "before files are in place": (area.Area, "publish", "before", 1),
    "with files in place": (area.Area, "publish", "after", 1),
    "before the commit": (rewrite, "attempt", "before", 1),
    "after the commit": (rewrite, "attempt", "after", 1),
    "after it was kept": (area.Area, "keep", "after", 1),
    "before the checkpoint": (compact, "checkpoint", "before", 1),
    "before the floor": (vacuum, "raise_floor", "before", 1),
    "after the floor": (vacuum, "raise_floor", "after", 1),
    "between two files": (vacuum, "remove", "after", 2),
    "before the log is cleaned up": (clean_up, "stamped", "before", 1),
}


def killing(call: Callable[..., Any], when: str, number: int) -> Callable[..., Any]:
    """The call, of which the process does not live to see the end, or the begin, for the ``number``-th time."""
    calls = iter(range(1, 1_000))

    def killed(*args: Any, **kwargs: Any) -> Any:
        last = next(calls) == number
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = call(*args, **kwargs)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    return killed


def tidy(folder: Path) -> None:
    compact.compact(str(folder), "datetime")
    vacuum.vacuum(str(folder), retention_s=0)
    clean_up.clean_up(str(folder), 30 * 86_400)


def child(folder: Path, point: str) -> None:
    place, name, when, number = POINTS[point]
    setattr(place, name, killing(getattr(place, name), when, number))
    tidy(folder)


@pytest.mark.parametrize("point", POINTS)
def test_the_table_is_whole_and_the_next_run_finishes(
    tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lake"
    for number in range(4):
        put(drivers(folder), rows(2, first=number), tmp_path, idempotency_key=f"batch {number}")
    before = stored(folder)
    process: BaseProcess = CONTEXT.Process(target=child, args=(folder, point))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert stored(folder).equals(before)
    monkeypatch.setattr(area, "ABANDONED_AFTER_S", 0.0)
    assert put(drivers(folder), rows(2), tmp_path, idempotency_key="batch 0").already_applied
    put(drivers(folder), rows(1, first=50), tmp_path)  # which sweeps
    tidy(folder)
    assert stored(folder).filter(stored(folder)["driver_id"] < 1050).equals(before)
    assert sorted(data_files(folder)) == sorted(live_files(folder))
    assert len(live_files(folder)) == len({path.parent for path in live_files(folder)})
    assert [path.name for path in (folder / area.AREA).iterdir()] == ["floor.json"]
