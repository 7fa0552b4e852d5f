"""``tiffin registry migrate|dump|load|rollback``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TextIO

import typer

from tiffin.cli.session import Session, command, group
from tiffin.errors import CorruptData, StorageError, Unsupported

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.registry.base import ProjectRecord, Revision
    from tiffin.registry.plan import Plan

#: The first line of a dump says that it is one, and of which format.
_FORMAT: Final = "tiffin-registry-1"

app = group("registry", "Schema, backup and history of the registry.")


@command(app, "migrate", example="tiffin registry migrate")
def migrate(session: Session) -> None:
    """Bring the registry's schema up to date, or create it.

    Every command does that at its start; this one does nothing else, so that a deployment can choose when.
    """
    from tiffin.registry.tables import SCHEMA_VERSION

    version = session.registry.store.version()
    session.answer(
        {"schema": SCHEMA_VERSION, "version": version},
        lambda: [f"The registry has schema {SCHEMA_VERSION}; changes so far: {version}."],
    )


@command(app, "dump", example="tiffin registry dump backup.jsonl\ntiffin registry dump - | gzip > backup.jsonl.gz")
def dump(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", help='The file to write; "-" writes to stdout.')],
) -> None:
    """Write all projects with every revision of every object, one JSON text a line."""
    store = _portable(session)
    lines = _dumped(store.load().projects, store.revisions())
    if file == "-":
        _write(lines, sys.stdout)
        return
    count = _write_file(lines, Path(file))
    session.answer({"file": file, "revisions": count - 1}, lambda: [f"{count - 1} revisions in {file}."])


@command(app, "load", example="tiffin registry load backup.jsonl --home copy")
def load(session: Session, file: Annotated[Path, typer.Argument(metavar="FILE", help="What dump wrote.")]) -> None:
    """Fill an empty registry from a dump, keeping revisions, instants and authors."""
    projects, revisions = _loaded(file)
    count = _portable(session).restore(projects, revisions)
    session.answer({"file": str(file), "revisions": count}, lambda: [f"{count} revisions loaded from {file}."])


@command(app, "rollback", example="tiffin registry rollback driver_statistics 2")
def rollback(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="An entity, feature table or feature service.")],
    revision: Annotated[int, typer.Argument(metavar="REVISION", help="The revision to return to; see history.")],
    kind: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Entity, FeatureTable or FeatureService, where a name has several."),
    ] = None,
) -> None:
    """Make an object again what an earlier revision left, as a new revision, whatever that breaks."""
    done = session.registry.rollback(name, revision, session.place, kind=kind)
    session.answer(done.to_dict(), lambda: _rolled_back(done))


def _rolled_back(done: Plan) -> list[RenderableType]:
    from tiffin.cli.plan_view import plan_view

    return plan_view(done, applied=True)


def _portable(session: Session) -> Any:
    """The store behind the registry, if its whole history can be carried."""
    from tiffin.registry.base import Portable

    store = session.registry.store
    if not isinstance(store, Portable):
        raise Unsupported(f"A {type(store).__name__} cannot be carried elsewhere.", field="registry")
    return store


def _dumped(projects: Iterable[ProjectRecord], revisions: Iterable[Revision]) -> Iterator[str]:
    import msgspec

    yield msgspec.json.encode({"format": _FORMAT, "projects": list(projects)}).decode()
    for revision in revisions:
        yield msgspec.json.encode(revision).decode()


def _write(lines: Iterator[str], stream: TextIO) -> int:
    count = 0
    for line in lines:
        stream.write(f"{line}\n")
        count += 1
    return count


def _write_file(lines: Iterator[str], path: Path) -> int:
    """Write beside the file and rename, so that a dump that fails leaves an older one whole."""
    draft = path.with_name(f"{path.name}.part")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            count = _write(lines, stream)
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.", field="file") from error
    return count


def _loaded(path: Path) -> tuple[list[ProjectRecord], list[Revision]]:
    import msgspec

    from tiffin.registry.base import ProjectRecord, Revision

    try:
        head, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.", field="file") from error
    try:
        first = msgspec.json.decode(head)
        if not isinstance(first, dict) or first.get("format") != _FORMAT:
            raise _no_dump(path)
        projects = msgspec.convert(first.get("projects"), list[ProjectRecord])
        return projects, [msgspec.json.decode(line, type=Revision) for line in lines]
    except msgspec.MsgspecError as error:
        raise _no_dump(path) from error


def _no_dump(path: Path) -> CorruptData:
    return CorruptData(f"{path} is not a dump of a registry.", field="file", hint="Name a file that dump wrote.")
