"""Decisions: against a simple oracle, and over whole histories in which processes die and definitions change."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tiffin.jobs.decide import (
    ATTEMPTS,
    FIRST_PAUSE,
    HEALTHY_AFTER,
    LONGEST_PAUSE,
    Run,
    Start,
    Stop,
    Wanted,
    next_attempt,
    ready_at,
    run,
    streams,
)
from tiffin.jobs.record import JobRecord, JobStatus, JobType
from tiffin.jobs.schedule import Schedule, last_time, next_time

SECOND = 1_000_000
NOW = 10_000 * SECOND
TABLES = ("a", "b", "c")
HASHES = ("1", "2")


def job(table: str, spec_hash: str, status: JobStatus = JobStatus.IN_PROGRESS, **more: object) -> JobRecord:
    made = JobRecord("j", JobType.STREAM_INGESTION, "p", (table,), status, start=NOW - SECOND, spec_hash=spec_hash)
    return replace(made, **more)


jobs = st.lists(
    st.builds(
        job,
        st.sampled_from(TABLES),
        st.sampled_from(HASHES),
        st.sampled_from(list(JobStatus)),
        id=st.text("abcdef", min_size=4, max_size=4),
        start=st.integers(NOW - 1000 * SECOND, NOW),
        end=st.integers(NOW - 400 * SECOND, NOW),
        attempt=st.integers(0, 20),
        cancelling=st.booleans(),
    ),
    max_size=12,
    unique_by=lambda each: each.id,
)
wishes = st.dictionaries(st.sampled_from(TABLES), st.sampled_from(HASHES))


def oracle(wanted: dict[str, str], found: list[JobRecord], now: int) -> tuple[set[str], set[str]]:
    """The tables to start and the ids to stop, one table after the other."""
    starting, stopping = set(), set()
    for table in TABLES:
        mine = [each for each in found if each.tables == (table,)]
        live = [each for each in mine if each.status in {JobStatus.STARTING, JobStatus.IN_PROGRESS}]
        good = [each for each in live if table in wanted and each.spec_hash == wanted[table] and not each.cancelling]
        keep = min(good, key=lambda each: (each.start, each.id), default=None)
        stopping |= {each.id for each in live if each is not keep and not each.cancelling}
        if table in wanted and not live:
            ended = [each for each in found if each not in live and each.status.is_final]
            ended = [each for each in ended if each.spec_hash == wanted[table]]
            last = max(ended, key=lambda each: (each.start, each.id), default=None)
            if last is None or ready_at(last) <= now:
                starting.add(table)
    return starting, stopping


def wants(wanted: dict[str, str]) -> list[Wanted]:
    return [Wanted("p", table, spec_hash) for table, spec_hash in wanted.items()]


@given(wishes, jobs)
def test_decisions_are_those_of_the_oracle(wanted: dict[str, str], found: list[JobRecord]) -> None:
    actions = streams(wants(wanted), found, NOW)
    starting = {action.wanted.table for action in actions if isinstance(action, Start)}
    stopping = {action.job.id for action in actions if isinstance(action, Stop)}
    assert (starting, stopping) == oracle(wanted, found, NOW)
    assert len(actions) == len(starting) + len(stopping)  # nothing twice


def test_the_oldest_goes_on_and_doubles_stop() -> None:
    two = [job("a", "1", id="x", start=NOW - 5), job("a", "1", id="w", start=NOW - 4)]
    assert [action.job.id for action in streams(wants({"a": "1"}), two, NOW) if isinstance(action, Stop)] == ["w"]


def test_a_new_definition_waits_for_the_old_job_to_end() -> None:
    old = job("a", "1")
    assert streams(wants({"a": "2"}), [old], NOW) == [Stop(old)]
    assert streams(wants({"a": "2"}), [replace(old, cancelling=True)], NOW) == []
    ended = replace(old, status=JobStatus.CANCELLED, end=NOW)
    assert streams(wants({"a": "2"}), [ended], NOW) == [Start(Wanted("p", "a", "2"), 1)]


def test_a_job_that_was_cancelled_starts_again_at_once() -> None:
    ended = job("a", "1", JobStatus.CANCELLED, end=NOW, attempt=7)
    assert streams(wants({"a": "1"}), [ended], NOW) == [Start(Wanted("p", "a", "1"), 1)]


@given(st.integers(1, 60), st.text("abcdef0123456789", min_size=12, max_size=12))
def test_pauses_double_to_a_limit_and_are_shortened_by_half_at_most(attempt: int, job_id: str) -> None:
    failed = job("a", "1", JobStatus.FAILED, id=job_id, end=NOW, attempt=attempt)
    full = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempt - 1))
    pause = ready_at(failed) - NOW
    assert full / 2 <= pause <= full
    assert ready_at(failed) == NOW + pause
    assert next_attempt(failed) == attempt + 1


def test_jobs_that_failed_together_come_back_apart() -> None:
    pauses = {ready_at(job("a", "1", JobStatus.FAILED, id=f"{n:012x}", end=NOW, attempt=8)) for n in range(200)}
    assert len(pauses) > 150


def test_a_job_that_lasted_counts_as_the_first_again() -> None:
    failed = job("a", "1", JobStatus.FAILED, start=NOW - HEALTHY_AFTER, end=NOW, attempt=9)
    assert next_attempt(failed) == 1
    assert ready_at(failed) <= NOW + FIRST_PAUSE


steps = st.lists(st.sampled_from(["look", "look", "tick", "die", "end", "change", "drop", "cancel"]), max_size=60)


@settings(max_examples=80)
@given(steps, st.randoms(use_true_random=False))
def test_over_a_history_a_table_never_has_two_and_gets_one_in_the_end(history: list[str], random: object) -> None:
    """A controller that forgets everything between two looks, and a world in which anything happens."""
    now, made, wanted, records = NOW, 0, {"a": "1", "b": "1"}, list[JobRecord]()

    def look() -> None:
        nonlocal made
        known = [each for each in records if not each.status.is_final]
        for spec_hash in set(wanted.values()):
            ended = [each for each in records if each.status.is_final and each.spec_hash == spec_hash]
            newest = {table: [each for each in ended if each.tables == (table,)] for table in TABLES}
            known += [max(each, key=lambda one: (one.start, one.id)) for each in newest.values() if each]
        for table in TABLES:  # hashes name tables, too, in the real world
            mine = [each for each in known if each.tables == (table,)]
            for action in streams(wants({table: wanted[table]} if table in wanted else {}), mine, now):
                if isinstance(action, Stop):
                    records[:] = [
                        replace(each, cancelling=each.cancelling or each.id == action.job.id) for each in records
                    ]
                else:
                    made += 1
                    fresh = job(table, action.wanted.hash, id=f"{made:06d}", start=now, attempt=action.attempt)
                    records.append(fresh)
        live = Counter(each.tables for each in records if not each.status.is_final)
        assert all(count == 1 for count in live.values())

    def end(which: JobStatus, *, asked: bool = False) -> None:
        for place, each in enumerate(records):
            if not each.status.is_final and (each.cancelling or not asked):
                records[place] = replace(each, status=which, end=now)

    for step in history:
        now += SECOND
        match step:
            case "look":
                look()
            case "tick":
                now += random.randrange(1000) * SECOND  # type: ignore[attr-defined]
            case "die":
                end(JobStatus.FAILED)
            case "end":
                end(JobStatus.CANCELLED, asked=True)
            case "change":
                wanted["a"] = "2" if wanted.get("a") == "1" else "1"
            case "drop":
                wanted.pop("b", None)
            case "cancel":
                records[:] = [replace(each, cancelling=True) for each in records]
    for _ in range(3):  # what was asked to stop stops, and pauses pass
        look()
        end(JobStatus.CANCELLED, asked=True)
        now += LONGEST_PAUSE
    look()
    live = {each.tables[0]: each.spec_hash for each in records if not each.status.is_final}
    assert live == wanted


# Schedules

HOURLY = "0 * * * *"
HOUR = 3600 * SECOND
DUE = last_time(HOURLY, 1_700_000_000 * SECOND)


def schedule(**more: object) -> Schedule:
    return replace(Schedule("p", "t", HOURLY, HOUR, due=DUE), **more)


def batch(status: JobStatus, **more: object) -> JobRecord:
    made = JobRecord("r", JobType.BATCH_INGESTION, "p", ("t",), status, start=DUE, end=DUE + SECOND, attempt=1)
    return replace(made, **more)


CLAIMED = {"run_from": DUE - HOUR, "run_due": DUE - HOUR, "run_job": "r"}


def test_nothing_runs_before_it_is_due() -> None:
    assert run(schedule(), None, DUE - 1) is None
    assert run(schedule(), None, DUE) == Run(schedule(), DUE, DUE, DUE + HOUR, 1)


def test_missed_runs_are_one_run() -> None:
    assert run(schedule(), None, DUE + 5 * HOUR + 7) == Run(schedule(), DUE, DUE + 5 * HOUR, DUE + 6 * HOUR, 1)


def test_no_run_begins_beside_another() -> None:
    assert run(schedule(**CLAIMED), batch(JobStatus.IN_PROGRESS), DUE + HOUR) is None
    assert run(schedule(**CLAIMED), batch(JobStatus.STARTING), DUE + HOUR) is None


def test_a_run_that_failed_is_tried_again_after_a_pause_and_not_for_ever() -> None:
    mine = schedule(due=DUE + HOUR, run_from=DUE, run_due=DUE, run_job="r")
    failed = batch(JobStatus.FAILED)
    assert run(mine, failed, failed.end) is None  # type: ignore[arg-type]
    assert run(mine, failed, ready_at(failed)) == Run(mine, DUE, DUE, DUE + HOUR, 2)
    last = batch(JobStatus.FAILED, attempt=ATTEMPTS)
    assert run(mine, last, DUE + HOUR - 1) is None
    assert run(mine, last, DUE + HOUR) == Run(mine, DUE, DUE + HOUR, DUE + 2 * HOUR, 1)


def test_a_run_that_its_controller_stopped_is_begun_again_and_one_that_people_cancelled_is_not() -> None:
    mine = schedule(due=DUE + HOUR, run_from=DUE, run_due=DUE, run_job="r")
    assert run(mine, batch(JobStatus.CANCELLED), DUE + SECOND) == Run(mine, DUE, DUE, DUE + HOUR, 1)
    assert run(mine, batch(JobStatus.CANCELLED, cancelling=True), DUE + SECOND) is None
    cancelled = run(mine, batch(JobStatus.CANCELLED, cancelling=True), DUE + HOUR)
    assert cancelled == Run(mine, DUE + HOUR, DUE + HOUR, DUE + 2 * HOUR, 1)


events = st.lists(st.tuples(st.sampled_from(["look", "fail", "complete", "stop", "outage"]), st.integers(1, 5000)))


@settings(max_examples=60)
@given(events)
def test_every_due_time_is_covered_once_by_a_run_that_did_its_work(history: list[tuple[str, int]]) -> None:
    mine, last, now = schedule(), None, DUE - 10 * SECOND
    done: list[tuple[int, int]] = []
    made = 0
    closing = [step for _ in range(3) for step in (("outage", 3600), ("look", 1), ("complete", 1))]
    for what, seconds in history + closing:
        now += seconds * SECOND * (20 if what == "outage" else 1)
        running = last is not None and not last.status.is_final
        if what == "look":
            action = run(mine, last, now)
            assert action is None or not running
            if action is not None:
                assert action.first <= action.due <= now < action.following
                made += 1
                mine = replace(mine, due=action.following, run_from=action.first, run_due=action.due, run_job=f"{made}")
                last = batch(JobStatus.IN_PROGRESS, id=f"{made}", start=now, end=None, attempt=action.attempt)
        elif running and last is not None and what in {"fail", "complete", "stop"}:
            status = {"fail": JobStatus.FAILED, "complete": JobStatus.COMPLETED, "stop": JobStatus.CANCELLED}[what]
            last = replace(last, status=status, end=now)
            if what == "complete":
                assert mine.run_from is not None
                assert mine.run_due is not None
                done.append((mine.run_from, mine.run_due))
    assert done[0][0] == DUE
    for (_, before), (first, _) in pairwise(done):
        assert first == next_time(HOURLY, before)  # neither a gap nor twice


@pytest.mark.parametrize("status", [JobStatus.COMPLETED, JobStatus.FAILED])
def test_a_job_that_is_no_longer_recorded_is_as_one_that_did_its_work(status: JobStatus) -> None:
    del status
    assert run(schedule(**CLAIMED), None, DUE) == Run(schedule(**CLAIMED), DUE, DUE, DUE + HOUR, 1)
