"""Keys and features as expressions over the raw columns of a source (semantics, section 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from tiffin.definitions.expression import unsteady
from tiffin.definitions.schema import Column, TableSchema
from tiffin.errors import InvalidDefinition


def is_bare(column: Column, names: Iterable[str]) -> bool:
    """Whether a key or feature is simply a column of the source."""
    return column.is_plain or column.expression in set(names)


def value_of(table: TableSchema, column: Column, names: Iterable[str]) -> pl.Expr:
    """A key or feature as an expression over raw columns; InvalidDefinition where it is none."""
    if is_bare(column, names):
        return pl.col(column.expression)
    fault = unsteady(column.expression)
    if fault:
        raise bad_mapping(table, column.name, fault)
    try:
        return pl.sql_expr(column.expression)
    except pl.exceptions.PolarsError as error:
        raise bad_mapping(table, column.name, error) from error


def is_expression(column: Column) -> bool:
    """Whether the text of a key or feature can be read as SQL; names with spaces cannot."""
    try:
        pl.sql_expr(column.expression)
    except pl.exceptions.PolarsError:
        return False
    return True


def columns_read(table: TableSchema, column: Column, names: Iterable[str]) -> list[str]:
    """The raw columns that a key or feature is read from."""
    return list(dict.fromkeys(value_of(table, column, names).meta.root_names()))


def result_type(table: TableSchema, column: Column, value: pl.Expr, types: Mapping[str, pl.DataType]) -> pl.DataType:
    """The type of an expression; InvalidDefinition where it is not one value for each row, computed from it alone."""
    roots = columns_read(table, column, types)
    sample = pl.DataFrame([pl.Series(name, [None, None], types[name]) for name in roots])
    if value.meta.has_multiple_outputs():
        raise bad_mapping(table, column.name, "it is several columns")
    try:
        found = sample.select(value.alias("value")).schema["value"]
    except pl.exceptions.PolarsError as error:
        raise bad_mapping(table, column.name, error) from error
    if not _is_of_one_row(value, sample.schema):
        raise bad_mapping(table, column.name, "its value in one row depends on others")
    return found


def _is_of_one_row(value: pl.Expr, types: Mapping[str, pl.DataType]) -> bool:
    """Whether an expression is neither an aggregate, nor does it look into other rows, as windows do.

    The optimiser knows: it moves a filter before an expression only where rows may be left out first.
    """
    rows = pl.LazyFrame(schema={**types, "$kept": pl.Boolean()})
    plan = rows.with_columns(value.alias("$value")).filter("$kept").explain()
    return not plan.lstrip().startswith("FILTER")


def bad_mapping(table: TableSchema, name: str, why: object) -> InvalidDefinition:
    """The error for a mapping that is neither a column nor a scalar expression."""
    return InvalidDefinition(
        f"{table.label()}: the field_mapping of {name!r} is neither a column of the source nor a SQL scalar expression "
        f"over its columns: {why}.",
        field="field_mapping",
        hint="Put names with spaces in double quotes, as in '\"fare amount\" * 100'.",
    )
