"""RetrievalPlan: a request for a training set as plain data, complete before any work begins."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal

import msgspec

from tiffin.definitions.schema import Selection
from tiffin.errors import InvalidArgument, InvalidReference, Unsupported, closest
from tiffin.types import ValueType


class RetrievalPlan(msgspec.Struct, frozen=True):
    """What a point-in-time join must answer (semantics, section 3).

    ``selections`` holds each table once. ``columns`` are the result's feature columns in the order of the request,
    which may interleave tables. ``timestamp_column`` is the entity source's column of instants. ``known_at`` is
    None, "row", or an instant in UTC microseconds.
    """

    selections: tuple[Selection, ...]
    columns: tuple[str, ...]
    timestamp_column: str = "event_timestamp"
    known_at: Literal["row"] | int | None = None

    @property
    def keys(self) -> dict[str, ValueType]:
        """The entities that any table needs, with their types."""
        return {key.name: key.dtype for selection in self.selections for key in selection.table.keys}


def make_plan(
    selections: Sequence[Selection],
    columns: Sequence[str],
    *,
    timestamp_column: str = "event_timestamp",
    known_at: Literal["row"] | int | None = None,
) -> RetrievalPlan:
    """A plan, checked in itself: what it asks can be answered whatever the entity source holds.

    A column that is asked twice is answered once. Raises InvalidReference where two features would yield the same
    column or a column belongs to no selection, InvalidArgument where nothing is asked, an entity has two types or
    ``known_at`` is no instant, and Unsupported where ``known_at`` meets a source without a created column.
    """
    plan = RetrievalPlan(tuple(selections), tuple(dict.fromkeys(columns)), timestamp_column, known_at)
    if not plan.columns:
        raise InvalidArgument("No features were asked for.", field="features", hint="Name at least one table:feature.")
    _check_columns(plan)
    _check_keys(plan)
    _check_known_at(plan)
    return plan


def check_entity_columns(plan: RetrievalPlan, names: Collection[str]) -> None:
    """Raise InvalidArgument where a column of the entity source has the name of a feature's column of the answer."""
    for name in plan.columns:
        if name in names:
            raise InvalidArgument(
                f"The entity source has a column {name!r}, which is also the name of a requested feature's column.",
                field=name,
                hint="Rename or drop it before the request.",
            )


def _check_columns(plan: RetrievalPlan) -> None:
    owners: dict[str, str] = {}
    for selection in plan.selections:
        for column, name in zip(selection.features, selection.output, strict=True):
            origin = f"{selection.table.label()}:{column.name}"
            if owners.setdefault(name, origin) != origin:
                raise InvalidReference(
                    f"{owners[name]!r} and {origin!r} would both yield the column {name!r}.",
                    field="features",
                    hint="Ask for them in two requests.",
                )
    for name in plan.columns:
        if name not in owners:
            raise InvalidReference(
                f"The column {name!r} belongs to none of the tables asked.",
                field="features",
                hint=closest(name, owners),
            )


def _check_keys(plan: RetrievalPlan) -> None:
    for selection in plan.selections:
        for key in selection.table.keys:
            if plan.keys[key.name] is not key.dtype:
                raise InvalidArgument(
                    f"The tables asked take the entity {key.name!r} as {key.dtype.name} and as "
                    f"{plan.keys[key.name].name}, which one column cannot be.",
                    field=key.name,
                    hint="Ask for them in two requests.",
                )


def _check_known_at(plan: RetrievalPlan) -> None:
    if plan.known_at is None:
        return
    if plan.known_at != "row" and (isinstance(plan.known_at, bool) or not isinstance(plan.known_at, int)):
        raise InvalidArgument(
            f"known_at must be 'row' or an instant in microseconds, got {plan.known_at!r}.", field="known_at"
        )
    for selection in plan.selections:
        if not selection.table.created_column:
            raise Unsupported(
                f"{selection.table.label()} has a source without a created_timestamp_column, so nobody can tell when "
                "its rows became known.",
                field="known_at",
                hint="Declare created_timestamp_column on the source, or leave known_at out.",
            )
