"""Five hundred tables: planned and applied within the time that a user waits without wondering."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.registry.places import Place
from tiffin import Entity, Feature, FeatureTable
from tiffin.registry.registry import Registry
from tiffin.registry.sql import open_registry
from tiffin.types import ValueType

TABLES = 500


def tables(description: str) -> list[FeatureTable]:
    features = [Feature(f"f{number}", ValueType.FLOAT) for number in range(10)]
    return [FeatureTable(f"t{n}", ["driver_id"], features, description=description) for n in range(TABLES)]


def cpu(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


@pytest.mark.serial
def test_plan_and_apply_of_500_tables_take_less_than_two_seconds(place: Place) -> None:
    registry = Registry(open_registry(place.url))
    registry.apply(Entity("driver_id", value_type=ValueType.INT64))
    for description in ("first", "second", "second"):
        given = tables(description)
        spent = cpu(lambda given=given: registry.plan(given)) + cpu(lambda given=given: registry.apply(given))
        assert spent < 2
    assert cpu(lambda: Registry(registry.store).objects(FeatureTable)) < 1
    assert len(registry.objects(FeatureTable)) == TABLES
    registry.close()
