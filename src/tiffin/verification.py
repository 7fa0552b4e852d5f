"""Verification: tables of a workspace compared, and told where they cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tiffin.control import UNWATCHED, Control
from tiffin.definitions.feature_table import FeatureTable
from tiffin.definitions.schema import TableSchema
from tiffin.errors import Unsupported
from tiffin.ingest.consistency import ConsistencyReport, State, TableReport
from tiffin.ingest.verify import Asked, verify
from tiffin.jobs.record import JobStatus, JobType

if TYPE_CHECKING:
    from tiffin.workspace import Workspace


def verify_tables(
    workspace: Workspace, tables: Sequence[TableSchema], asked: Asked, *, control: Control = UNWATCHED
) -> ConsistencyReport:
    """Compare tables, one after the other.

    A table whose rows no history holds, or whose source or store cannot be compared, is told as such. Unsupported where
    this process does not reach the online store.
    """
    route = workspace.route
    filled = _filled(workspace, {table.project for table in tables})
    reports: list[TableReport] = []
    for table in tables:
        control.check()
        definition = workspace.snapshot().peek(FeatureTable, table.name, table.project)
        if definition.stream_source is not None and not definition.to_offline:
            reports.append(_not_comparable(table, "its stream is kept out of the history (to_offline=False)"))
            continue
        known = (table.project, table.name) in filled
        try:
            reports.append(verify(route, table, _with(asked, filled=known), control=control))
        except Unsupported as error:
            reports.append(_not_comparable(table, error.message))
    return ConsistencyReport(tuple(reports))


def _with(asked: Asked, *, filled: bool) -> Asked:
    return Asked(asked.sample, asked.examples, asked.fix, filled, asked.patience)


def _not_comparable(table: TableSchema, note: str) -> TableReport:
    return TableReport(table.project, table.name, State.NOT_COMPARABLE, note=note)


def _filled(workspace: Workspace, projects: set[str]) -> set[tuple[str, str]]:
    """The tables that a job has materialised: a store that was lost since does not know of it."""
    return {
        (job.project, name)
        for project in projects
        for job in workspace.jobs.find(include_terminated=True, project=project)
        if job.type is JobType.BATCH_INGESTION and job.status is JobStatus.COMPLETED
        for name in job.tables
    }
