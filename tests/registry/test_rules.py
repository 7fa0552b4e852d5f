"""Rules of apply beyond the shipped suite: what is refused, what a plan says, which services are touched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tiffin import BigQuerySource, Entity, Feature, FeatureService, FeatureTable
from tiffin.errors import BreakingChange, FailedPrecondition, InvalidDefinition, NotFound
from tiffin.registry.memory import MemoryRegistry
from tiffin.registry.registry import Registry
from tiffin.testing.registry import driver, trips
from tiffin.types import ValueType


@pytest.fixture
def registry() -> Registry:
    registry = Registry(MemoryRegistry(), recheck=0)
    registry.apply([driver(), trips()])
    return registry


@pytest.mark.parametrize("objects", ["trips", 5, None, {"a": driver()}, [Feature("f", ValueType.BOOL)], [[driver()]]])
def test_only_definitions_can_be_applied(registry: Registry, objects: Any) -> None:
    with pytest.raises(InvalidDefinition, match="Only entities, feature tables and feature services"):
        registry.apply(objects)


@pytest.mark.parametrize(
    "wrong",
    [
        driver(name="no-dashes"),
        trips(entities=[]),
        trips(features=[]),
        trips(features=[Feature("event_timestamp", ValueType.BOOL)]),
        trips(batch_source=BigQuerySource("ts", "nonsense")),
        FeatureService("s", []),
    ],
)
def test_rules_of_definitions_are_checked_by_plan_and_apply(registry: Registry, wrong: Any) -> None:
    for call in (registry.plan, registry.apply):
        with pytest.raises(InvalidDefinition):
            call([driver(description="changed"), wrong])
    assert registry.get(Entity, "driver_id").description == ""


def test_a_plan_changes_nothing_and_says_all(registry: Registry) -> None:
    registry.apply(FeatureService("model", ["trips:count"]))
    version = registry.store.version()
    changed = trips(features=[Feature("rate", ValueType.DOUBLE), Feature("more", ValueType.BOOL)], max_age=60)
    planned = registry.plan([driver(), changed, Entity("city")])
    assert registry.store.version() == version
    assert (planned.impact, planned.services, planned.is_empty) == ("breaking", ("default/model",), False)
    assert str(planned).splitlines() == [
        "~ FeatureTable trips: update (breaking)",
        "    ~ features.rate.dtype: FLOAT -> DOUBLE  (breaking)",
        "    + features.more: BOOL",
        "    - features.count: INT32  (breaking)",
        "    + max_age: 60s",
        "    touches default/model",
        "+ Entity city: create",
        "= 1 unchanged",
    ]
    plain = json.loads(json.dumps(planned.to_dict()))
    assert plain["impact"] == "breaking"
    assert [change["action"] for change in plain["changes"]] == ["none", "update", "create"]
    assert str(registry.plan(driver())) == "Nothing to change in project default: 1 objects are as registered."


def test_services_are_touched_by_what_they_read(registry: Registry) -> None:
    registry.apply([FeatureService("counts", ["trips:count"]), FeatureService("rates", ["trips:rate"])])
    registry.apply([driver(), FeatureService("abroad", ["default/trips:count"])], "other")

    def touched(**changes: Any) -> tuple[str, ...]:
        return registry.plan(trips(**changes)).services

    count, rate = trips().features
    assert touched(features=[count, rate, Feature("more", ValueType.BOOL)]) == ()
    assert touched(features=[rate]) == ("default/counts", "other/abroad")
    assert touched(features=[count, Feature("rate", ValueType.DOUBLE)]) == ("default/rates",)
    assert touched(max_age=60) == ("default/counts", "default/rates", "other/abroad")


def test_a_table_that_services_read_is_deleted_only_if_that_is_allowed(registry: Registry) -> None:
    registry.apply(FeatureService("model", ["trips:count"]))
    with pytest.raises(BreakingChange, match="default/model"):
        registry.delete(FeatureTable, "trips")
    done = registry.delete(FeatureTable, "trips", allow_breaking=True)
    assert (done.impact, done.services) == ("destructive", ("default/model",))
    registry.delete(FeatureService, "model")


def test_deleting_what_never_was_is_an_error(registry: Registry) -> None:
    with pytest.raises(NotFound, match="Did you mean 'trips'"):
        registry.delete(FeatureTable, "trip")
    with pytest.raises(NotFound):
        registry.delete(Entity, "trips")


@pytest.mark.parametrize(
    ("refs", "words"),
    [
        (["trips:coun"], "Did you mean 'count'"),
        (["trip:count"], "Did you mean 'trips'"),
        (["nowhere/trips:count"], "no project 'nowhere'"),
    ],
)
def test_services_name_what_exists(registry: Registry, refs: list[str], words: str) -> None:
    with pytest.raises(NotFound, match=words):
        registry.apply(FeatureService("model", refs))


def test_services_whose_columns_collide_are_refused(registry: Registry) -> None:
    registry.apply([driver(), trips()], "other")
    with pytest.raises(InvalidDefinition, match="would both be the column 'trips__count'"):
        registry.apply(FeatureService("model", ["trips:count", "other/trips:count"]))
    registry.apply(FeatureService("model", ["trips:count", "other/trips:rate"]))


def test_one_name_twice_in_one_apply(registry: Registry) -> None:
    assert len(registry.apply([driver(), driver()]).changes) == 1
    with pytest.raises(InvalidDefinition, match="Entity 'driver_id' is given twice"):
        registry.apply([driver(), driver(description="other")])


def test_a_table_of_an_entity_that_was_deleted(registry: Registry) -> None:
    registry.apply(Entity("city"))
    registry.delete(Entity, "city")
    with pytest.raises(NotFound, match="'city'"):
        registry.apply(trips(name="by_city", entities=["city"]))
    registry.apply([trips(name="by_city", entities=["city"]), Entity("city")])


@pytest.mark.parametrize("project", ["", "9a", "-a", "a b", "a/b", "*"])
def test_names_of_projects(registry: Registry, project: str) -> None:
    with pytest.raises(InvalidDefinition):
        registry.create_project(project)
    if project:
        with pytest.raises(InvalidDefinition):
            registry.apply(driver(), project)


def test_a_revival_may_change_the_content(registry: Registry) -> None:
    registry.delete(FeatureTable, "trips")
    done = registry.apply(trips(features=[Feature("rate", ValueType.DOUBLE)]))
    assert (done.changes[0].action, done.impact) == ("revive", "compatible")
    assert [each.revision for each in registry.history("trips")] == [1, 2, 3]


def test_rollback_and_diff_name_what_is_wrong(registry: Registry) -> None:
    with pytest.raises(NotFound, match=r"no revision 7.*1 to 1"):
        registry.rollback("trips", 7)
    with pytest.raises(NotFound, match="no revision 0"):
        registry.diff("trips", 0, 1)
    with pytest.raises(NotFound, match="Did you mean 'trips'"):
        registry.history("trip")
    registry.delete(FeatureTable, "trips")
    with pytest.raises(FailedPrecondition, match="Revision 2 of 'trips' is its deletion"):
        registry.rollback("trips", 2)
    assert registry.rollback("trips", 1).changes[0].action == "rollback"
    assert registry.get(FeatureTable, "trips") == trips()
    assert registry.rollback("trips", 1).is_empty


def test_a_rollback_keeps_the_rules_of_today(registry: Registry) -> None:
    registry.apply([Entity("city"), trips(entities=["city"])], allow_breaking=True)
    registry.delete(Entity, "driver_id")
    with pytest.raises(NotFound, match="'driver_id'"):
        registry.rollback("trips", 1)


def test_a_name_of_several_kinds_must_be_told_apart(registry: Registry) -> None:
    registry.apply([Entity("trips"), FeatureService("trips", ["trips:count"])])
    with pytest.raises(FailedPrecondition, match=r"several objects.*kind='Entity'"):
        registry.history("trips")
    for kind in (Entity, FeatureTable, FeatureService):
        for asked in (kind, kind.__name__):
            assert registry.history("trips", kind=asked)[0].kind == kind.__name__
