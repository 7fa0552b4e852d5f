"""What no mapping may say, and what looks like it and may be said."""

from __future__ import annotations

import pytest

from tiffin import Client, Entity, Feature, FeatureTable, FileSource, ValueType
from tiffin.data_format import ParquetFormat
from tiffin.definitions.expression import unsteady
from tiffin.errors import InvalidDefinition


@pytest.mark.parametrize(
    "expression",
    [
        "NOW()",
        "now ()",
        "CURRENT_TIMESTAMP - 1",
        "a + Current_Date",
        "COALESCE(a, LOCALTIME)",
        "EXTRACT(epoch FROM now())",
        "CURRENT_TIMESTAMP()",
        "RAND() * a",
        "SUM(a)",
        "a / max(a)",
        "RANK() OVER (ORDER BY a)",
        "a IN (SELECT 1)",
        "COUNT(*)",
        "CASE WHEN a = 'now()' THEN NOW() END",
    ],
)
def test_values_of_another_time_or_of_other_rows(expression: str) -> None:
    source = FileSource("at", ParquetFormat(), "data", field_mapping={"f": expression})
    with pytest.raises(InvalidDefinition, match=r"maps 'f' to .* but it has") as refused:
        source.check()
    assert refused.value.field == "field_mapping"
    assert refused.value.hint


@pytest.mark.parametrize(
    "expression",
    [
        "now",
        "current_date",
        "count",
        "a + b",
        "'now()'",
        '"current_date" || "sum(a)"',
        "`rand()`",
        "a -- now()",
        "a /* sum(a) */ + 1",
        "snow(a)",
        "array_sum(a)",
        "over_time(a)",
        "trip count (thousands)",
        "GREATEST(a, b)",
        "CAST(a AS DOUBLE)",
        "selected(a)",
    ],
)
def test_values_of_their_own_row(expression: str) -> None:
    assert unsteady(expression) == ""


def test_an_apply_refuses_them_and_changes_nothing(tmp_path: object) -> None:
    source = FileSource("at", ParquetFormat(), "data", field_mapping={"f": "NOW()"})
    with Client(home=f"{tmp_path}/home") as client:
        with pytest.raises(InvalidDefinition, match="another each time"):
            client.apply(
                [Entity("id"), FeatureTable("t", ["id"], [Feature("f", ValueType.UNIX_TIMESTAMP)], source)],
            )
        assert client.list_entities() == []
