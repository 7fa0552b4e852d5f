"""Controllers: one job per stream and each run of a schedule once, while controllers and jobs are killed."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.jobs.stage import LEASE, FileGoal, Stage, turns, until
from tests.registry.places import PostgresPlace
from tiffin import clock
from tiffin.jobs.children import Children
from tiffin.jobs.control import Controller
from tiffin.jobs.lease import Lease
from tiffin.jobs.record import JobRecord, JobStatus, JobType
from tiffin.jobs.schedule import Schedule, next_time
from tiffin.jobs.store import JobStore
from tiffin.registry.database import open_database


@pytest.fixture(params=["sqlite", "postgres"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/registry.db"
    else:
        url = PostgresPlace(request.getfixturevalue("postgres")).url
    stage = Stage(url, tmp_path, {"a": "1a", "b": "1b"})
    yield stage
    stage.close()


def live(stage: Stage, table: str) -> list[JobRecord]:
    return [each for each in stage.store.find(table=table) if each.type is JobType.STREAM_INGESTION]


def all_of(stage: Stage, table: str) -> list[JobRecord]:
    found = stage.store.find(include_terminated=True, table=table)
    return sorted((each for each in found if each.type is JobType.STREAM_INGESTION), key=lambda each: each.start)


def test_streams_go_on_whatever_is_killed_or_stopped_and_none_runs_twice(stage: Stage) -> None:
    controllers = {each.pid: each for each in (stage.controller(), stage.controller())}
    first_a, first_b = stage.worker("a"), stage.worker("b")
    first = until(lambda: stage.leader)

    # A leader that is killed is followed within its lease, and what it had started is taken over.
    os.kill(first, signal.SIGKILL)
    controllers.pop(first).wait()
    killed = time.monotonic()
    second = until(lambda: stage.leader in controllers and stage.leader)
    assert time.monotonic() - killed < LEASE + 3
    assert (stage.worker("a"), stage.worker("b")) == (first_a, first_b)

    # A job that is killed is started again.
    os.kill(first_a, signal.SIGKILL)
    second_a = until(lambda: stage.worker("a") not in {0, first_a} and stage.worker("a"))
    until(lambda: [each.status for each in all_of(stage, "a")] == [JobStatus.FAILED, JobStatus.IN_PROGRESS])
    assert [each.attempt for each in all_of(stage, "a")] == [1, 2]

    # A job of another definition follows the one before; one that is wanted no longer ends.
    stage.want({"a": "2a"})
    until(lambda: [each.spec_hash for each in live(stage, "a")] == ["2a"])
    assert stage.worker("a") != second_a
    until(lambda: not live(stage, "b"))
    assert stage.is_quiet("b")

    # A leader that was stopped for a while does nothing any more, whatever it missed.
    third = stage.controller()
    controllers[third.pid] = third
    os.kill(second, signal.SIGSTOP)
    until(lambda: stage.leader not in {None, second})
    os.kill(stage.worker("a"), signal.SIGKILL)
    until(lambda: [each.status for each in all_of(stage, "a")][-2:] == [JobStatus.FAILED, JobStatus.IN_PROGRESS])
    stage.want({"a": "2a", "b": "2b"})
    stage.worker("b")
    os.kill(second, signal.SIGCONT)
    time.sleep(2 * LEASE)
    assert stage.leader == third.pid
    assert (len(all_of(stage, "a")), len(all_of(stage, "b"))) == (4, 2)

    # A clean stop tells the jobs to finish, and the other controller begins anew.
    assert stage.leader == third.pid
    third.send_signal(signal.SIGTERM)
    assert third.wait(30) == 0
    until(lambda: len(all_of(stage, "a")) == 5)
    assert [each.status for each in all_of(stage, "a")][-2] is JobStatus.CANCELLED
    stage.worker("a")
    stage.worker("b")
    controllers[second].send_signal(signal.SIGTERM)
    assert controllers[second].wait(30) == 0
    assert stage.store.find() == []
    assert stage.store.leases.held() == []

    # By the jobs' own word: one after the other, and none came back.
    for table in ("a", "b"):
        worked = turns(stage.lines(), table)
        assert len(worked) == len(set(worked)), table
        assert len(worked) == len(all_of(stage, table))
    assert all(each.outcome.written > 0 and each.progress.lag == 0.5 for each in all_of(stage, "a"))


def test_runs_of_schedules_are_claimed_once_by_many_and_cover_all_time(stage: Stage) -> None:
    stage.want({})
    cron, second = "* * * * * *", 1_000_000
    due = next_time(cron, clock.now() - 60 * second)  # the outage of a minute
    stage.store.schedules.put(Schedule("default", "s", cron, second, due, created=0, created_by="me"))
    controllers = {each.pid: each for each in (stage.controller(), stage.controller())}
    until(lambda: len(runs(stage)) >= 2)
    leader = until(lambda: stage.leader)
    os.kill(leader, signal.SIGKILL)
    controllers[leader].wait()
    done = len(runs(stage))
    until(lambda: len(runs(stage)) >= done + 2)
    stage.store.schedules.remove("default", "s")
    until(lambda: not stage.store.find())
    windows = runs(stage)
    assert windows[0][0] == due - second
    assert windows[0][1] - windows[0][0] >= 60 * second  # what was missed is one run
    for (_, end), (start, _) in pairwise(windows):
        assert start == end, windows  # each run begins where the last one ended: none missing, none twice


def runs(stage: Stage) -> list[tuple[int, int]]:
    """The windows that jobs worked through, in the order in which they did, a run that was done again once."""
    found = [window for name, _, window in stage.lines() if name == "s"]
    spans = [(int(start), int(end)) for start, _, end in (window.partition("-") for window in found)]
    return list(dict.fromkeys(spans))


def test_what_stands_in_the_way_is_told_once_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = JobStore(open_database(f"sqlite:///{tmp_path}/registry.db"))
    store.schedules.put(Schedule("default", "odd", "not a cron", 1, due=1))
    store.schedules.put(Schedule("default", "well", "* * * * * *", 1, due=1))
    children = Children({}, command=["/nonexistent"])
    goal = FileGoal(tmp_path / "goal")
    (tmp_path / "goal").write_text("{}")
    controller = Controller(store, goal, children, Lease(store.leases, "control", "me", 60))
    caplog.set_level(logging.WARNING)
    controller.look()
    controller.look()
    assert controller.leads
    [failed] = store.find(include_terminated=True, table="well")
    assert (failed.status, failed.attempt) == (JobStatus.FAILED, 1)
    assert "No process could be started" in failed.error
    assert any("the schedule of default/odd is left out" in line for line in caplog.messages)
    store._database.dispose()
