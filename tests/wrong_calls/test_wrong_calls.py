"""A wrong call raises an error that says what was asked, what was found or what to do, and it changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.wrong_calls import cases_definitions, cases_reads, cases_writes
from tests.wrong_calls.world import World, Wrong, at, batch, build
from tiffin import Feature, ValueType
from tiffin.errors import TiffinError

CASES = [
    pytest.param(case, id=f"{area}: {case.name}")
    for area, cases in (
        ("definition", cases_definitions.CASES),
        ("read", cases_reads.CASES),
        ("write", cases_writes.CASES),
    )
    for case in cases
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One store for all cases: that nothing changes is what they test."""
    folder = tmp_path_factory.mktemp("wrong")
    world = build(folder / "home", folder / "files")
    yield world
    world.client.close()


@pytest.mark.parametrize("case", CASES)
def test_wrong_call(world: World, case: Wrong) -> None:
    before = world.everything()
    with pytest.raises(case.error) as raised:
        finish(case.call(world))
    error = raised.value
    assert isinstance(error, TiffinError)
    for word in case.says:
        assert word in str(error), f"{word!r} is missing in: {error}"
    assert error.status < 500 or type(error).__name__ == "CorruptData", (
        f"{error.status}: a mistake of the caller is 4xx"
    )
    assert error.to_dict()["message"]
    after = world.everything()
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert not changed, f"the call failed, and yet it changed {sorted(changed)}"


@pytest.mark.parametrize(
    "call",
    [
        lambda w: w.client.ingest("trips", batch().clear()),
        lambda w: w.client.ingest("trips", batch(event_timestamp=[at(1), at(1)]), idempotency_key="first"),
        lambda w: w.client.apply(w.client.get_feature_table("trips")),
        lambda w: w.client.materialize_incremental("trips"),
        lambda w: w.client.get_online_features(["trips:rating"], []),
        lambda w: w.client.plan(w.trips(features=[Feature("rating", ValueType.FLOAT)])),
    ],
    ids=["no rows", "the same batch again", "the same table again", "nothing new", "no keys", "a plan"],
)
def test_calls_that_have_nothing_to_do_change_nothing(world: World, call: Callable[[World], object]) -> None:
    before = world.everything()
    call(world)
    assert world.everything() == before


def finish(result: object) -> None:
    """Wait where the call gave a job: a wrong call may not get as far, and then the test fails."""
    assert not hasattr(result, "wait"), "a wrong call launched a job"
