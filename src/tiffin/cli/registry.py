"""``tiffin registry migrate|dump|load|rollback|prune``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from tiffin.cli.session import Session, command, group
from tiffin.errors import FailedPrecondition, InvalidData, StorageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.config import Config
    from tiffin.registry.plan import Plan

app = group("registry", "Schema, backup and history of the registry.")


@command(app, "migrate", example="tiffin registry migrate\ntiffin registry migrate --check")
def migrate(
    session: Session,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with code 1 where the schema is not up to date.")
    ] = False,
) -> None:
    """Bring the registry's schema up to date, or create it.

    Every command does that at its start unless the option registry_auto_migrate is false; this one does nothing else,
    so that a deployment can choose when.
    """
    from tiffin.registry import database
    from tiffin.registry.tables import SCHEMA_VERSION

    engine = database.make_engine(_database_url(session.config))
    try:
        before = database.schema_version(engine) if check else database.upgrade(engine)
    finally:
        engine.dispose()
    after = before if check else SCHEMA_VERSION
    behind = after != SCHEMA_VERSION
    session.answer(
        {"from": before, "schema": after, "needed": SCHEMA_VERSION, "up_to_date": not behind},
        lambda: [_schema_view(before, after, SCHEMA_VERSION)],
    )
    if behind:
        raise typer.Exit(1)


def _database_url(config: Config) -> str:
    from tiffin.deployment import has_core, registry_url

    if has_core(config):
        raise FailedPrecondition(
            "The registry is a service (core_url), whose database is not reached from here.",
            field="core_url",
            hint="Run tiffin registry migrate where the service runs, with its option registry.",
        )
    return registry_url(config)


def _schema_view(before: str | None, after: str | None, needed: str) -> str:
    if after != needed:
        return f"The registry has {f'schema {after}' if after else 'no schema yet'}; this Tiffin needs schema {needed}."
    if before == needed:
        return f"The registry has schema {needed}: nothing to do."
    return f"The registry has schema {needed}; it had {f'schema {before}' if before else 'none'}."


@command(app, "dump", example="tiffin registry dump backup.jsonl\ntiffin registry dump - | gzip > backup.jsonl.gz")
def dump(
    session: Session,
    file: Annotated[str, typer.Argument(metavar="FILE", help='The file to write; "-" writes to stdout.')],
) -> None:
    """Write all projects with every revision of every object, one JSON text a line."""
    lines = _dumped(session)
    if file == "-":
        _write(lines, sys.stdout)
        return
    count = _write_file(lines, Path(file))
    session.answer({"file": file, "revisions": count}, lambda: [f"{count} revisions in {file}."])


@command(app, "prune", example="tiffin registry prune\ntiffin registry prune --jobs-days 30 --audit-days 365")
def prune(
    session: Session,
    jobs_days: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Keep ended jobs this long; else option jobs_retention_days.")
    ] = None,
    audit_days: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Keep the audit log this long; else audit_retention_days.")
    ] = None,
) -> None:
    """Delete ended jobs, their logs and events of the audit log that are past their retention.

    The history of definitions is never deleted.
    """
    from tiffin.jobs.retention import Limits
    from tiffin.jobs.retention import prune as delete

    pruned = delete(session.workspace.jobs, Limits.of(session.config, jobs=jobs_days, audit=audit_days))
    session.answer(
        {"jobs": pruned.jobs, "events": pruned.events},
        lambda: [f"Deleted {pruned.jobs} jobs and {pruned.events} events of the audit log."],
    )


def _dumped(session: Session) -> Iterable[str]:
    from tiffin.registry import transfer
    from tiffin.registry.registry import Registry

    registry = session.registry
    return transfer.dump(registry.store) if isinstance(registry, Registry) else registry.dump()


@command(app, "load", example="tiffin registry load backup.jsonl --home copy")
def load(session: Session, file: Annotated[Path, typer.Argument(metavar="FILE", help="What dump wrote.")]) -> None:
    """Fill an empty registry from a dump, keeping revisions, instants and authors."""
    from tiffin.registry import transfer

    try:
        with file.open(encoding="utf-8") as lines:
            count = transfer.load(session.registry_store, lines)
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror}.", field="file") from error
    except UnicodeDecodeError as error:
        raise InvalidData(f"{file} is not text.", field="file", hint="Name a file that dump wrote.") from error
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


def _write(lines: Iterable[str], stream: TextIO) -> int:
    """Write lines; how many of them are revisions."""
    count = 0
    for line in lines:
        stream.write(f"{line}\n")
        count += '"type":"revision"' in line[:20]
    return count


def _write_file(lines: Iterable[str], path: Path) -> int:
    """Write beside the file and rename, so that a dump that fails leaves an older one whole."""
    draft = path.with_name(f"{path.name}.part")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            count = _write(lines, stream)
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.", field="file") from error
    return count
