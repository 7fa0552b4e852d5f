"""Training: what retrieval jobs do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from tiffin.control import UNWATCHED, Control
from tiffin.definitions.source import FileSource
from tiffin.offline.retrieve import latest_frame, prepare
from tiffin.registry.resolve import absolute

if TYPE_CHECKING:
    import polars as pl

    from tiffin.registry.resolve import Refs
    from tiffin.workspace import Workspace

Batches = Callable[[Control], "Iterator[pl.DataFrame]"]


def training_set(
    workspace: Workspace, refs: Refs, project: str, entity_source: Any, known_at: Literal["row"] | int | None
) -> tuple[list[str], Batches]:
    """The tables of a request and what answers it; everything that can be wrong with it is raised here."""
    selections, columns = workspace.snapshot().select(refs, project, **workspace.places)
    workspace.check_histories(selection.table for selection in selections)
    if isinstance(entity_source, FileSource):
        place = absolute(entity_source.file_url, str(workspace.config.root))
        entity_source = replace(entity_source, file_url=place)
    plan, entities = prepare(selections, columns, entity_source, known_at=known_at)
    engine, budget = workspace.engine, workspace.memory_budget
    for selection in selections:
        engine.check(selection)

    def batches(control: Control) -> Iterator[pl.DataFrame]:
        return engine.join(plan, entities, memory_budget=budget, control=control)

    return [selection.table.name for selection in selections], batches


def known_keys(workspace: Workspace, refs: Refs, project: str, at: int) -> tuple[list[str], Batches]:
    """As :func:`training_set`, for every key that the tables know at an instant."""
    selections, columns = workspace.snapshot().select(refs, project, **workspace.places)
    workspace.check_histories(selection.table for selection in selections)
    engine, budget = workspace.engine, workspace.memory_budget
    for selection in selections:
        engine.check(selection)

    def batches(control: Control) -> Iterator[pl.DataFrame]:
        return latest_frame(engine, selections, columns, at, memory_budget=budget, control=control)

    if len({frozenset(selection.table.key_names) for selection in selections}) > 1:
        batches(UNWATCHED)  # raises, in the words of the engine's floor, before a job begins
    return [selection.table.name for selection in selections], batches
