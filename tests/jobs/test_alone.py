"""Work under a lease: one does it, others stand by, and whoever loses the lease stops between two batches."""

from __future__ import annotations

import threading
import time

import pytest
import sqlalchemy as sa

from tests.jobs.conftest import Told
from tiffin.control import Control
from tiffin.errors import Conflict, JobCancelled, StorageError
from tiffin.jobs import alone
from tiffin.jobs.alone import Alone
from tiffin.jobs.lease_store import LeaseStore
from tiffin.jobs.record import Outcome
from tiffin.jobs.task import TaskControl
from tiffin.registry.database import writing

NAME = "stream/default/t/0"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "_ASK_EVERY", 0.02)


def test_the_second_begins_when_the_first_has_ended(database: sa.Engine) -> None:
    leases, first, release, order = LeaseStore(database), threading.Event(), threading.Event(), list[str]()

    def one(_: Control) -> Outcome:
        first.set()
        release.wait(30)
        order.append("one")
        return Outcome(1)

    def two(control: Control) -> Outcome:
        control.check()
        order.append("two")
        return Outcome(2)

    thread = threading.Thread(target=lambda: Alone(Told(one), leases, NAME, seconds=5).run(TaskControl()))
    thread.start()
    assert first.wait(30)
    waiting = TaskControl()
    other = threading.Thread(target=lambda: Alone(Told(two), leases, NAME, seconds=5).run(waiting))
    other.start()
    time.sleep(0.2)
    assert order == []
    release.set()
    thread.join(30)
    other.join(30)
    assert order == ["one", "two"]
    assert leases.held() == []
    assert [line for _, line in waiting.take_lines()] == [f"Another process holds the lease {NAME}: standing by."]


def test_one_that_stands_by_can_be_cancelled(database: sa.Engine) -> None:
    leases, control = LeaseStore(database), TaskControl()
    assert leases.take(NAME, "another", 60)
    threading.Timer(0.1, control.cancel).start()
    with pytest.raises(JobCancelled):
        Alone(Told(lambda _: Outcome()), leases, NAME, seconds=5).run(control)


def test_a_lost_lease_stops_the_work_and_begins_it_again_when_it_is_held(database: sa.Engine) -> None:
    leases, control, begun = LeaseStore(database), TaskControl(), list[float]()

    def work(mine: Control) -> Outcome:
        begun.append(time.monotonic())
        if len(begun) == 1:
            with writing(database) as connection:  # as if this process had stood still for too long
                connection.execute(sa.text("update leases set owner = 'another'"))
            while True:
                mine.check()
                time.sleep(0.01)
        return Outcome(7)

    assert Alone(Told(work), leases, NAME, seconds=0.5).run(control) == Outcome(7)
    assert len(begun) == 2
    assert any("was lost: standing by" in line for _, line in control.take_lines())


def test_errors_of_the_work_are_its_own(database: sa.Engine) -> None:
    for error in (Conflict("the key was used"), StorageError("the disk is full")):

        def fail(_: Control, error: Exception = error) -> Outcome:
            raise error

        with pytest.raises(type(error), match=str(error)):
            Alone(Told(fail), LeaseStore(database), NAME, seconds=5).run(TaskControl())
        assert LeaseStore(database).held() == []


def test_what_the_work_tells_arrives(database: sa.Engine) -> None:
    control = TaskControl()

    def work(mine: Control) -> Outcome:
        mine.rows(3, 2, 1)
        mine.lag(1.5)
        mine.progress(3, 9, unit="messages")
        mine.log("a line")
        assert (control.outcome, control.state.lag, control.state.unit) == (Outcome(3, 2, 1), 1.5, "messages")
        return Outcome(4)

    assert Alone(Told(work), LeaseStore(database), NAME).run(control) == Outcome(4)
    assert [line for _, line in control.take_lines()] == ["a line"]
    told = {name for name in vars(Control) if not name.startswith("_")}
    assert told <= vars(alone._Held).keys(), "a control passes on everything that a control can be told"
