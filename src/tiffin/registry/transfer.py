"""Transfer: the whole history of a registry as JSON lines, and back.

Each line is one object with ``type`` ``project`` or ``revision``. Revisions keep their number, instant, author and
content, so that history, diff and rollback work on after a move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from tiffin.definitions.kinds import kind_named
from tiffin.errors import InvalidData, InvalidDefinition, Unsupported
from tiffin.refs import DEFAULT_PROJECT
from tiffin.registry.base import Key, Portable, ProjectRecord, RegistryStore, Revision


class _Project(ProjectRecord, frozen=True, tag_field="type", tag="project"):
    """The line of a project."""


class _Revision(Revision, frozen=True, tag_field="type", tag="revision"):
    """The line of a revision."""


_decoder = msgspec.json.Decoder(_Project | _Revision)


def dump(store: RegistryStore) -> Iterator[str]:
    """The lines of a registry, without line ends: projects first, then every revision of every object."""
    revisions = list(_portable(store).revisions())
    for project in store.load().projects:  # read last, so that every revision's project is among them
        yield msgspec.json.encode(_Project(**msgspec.structs.asdict(project))).decode()
    for revision in revisions:
        yield msgspec.json.encode(_Revision(**msgspec.structs.asdict(revision))).decode()


def load(store: RegistryStore, lines: Iterable[str]) -> int:
    """Fill an empty registry from dumped lines, all or nothing; how many revisions there were.

    InvalidData names the first line that cannot be read or does not fit those before it.
    """
    projects: dict[str, ProjectRecord] = {}
    revisions: list[Revision] = []
    newest: dict[Key, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            item = _decoder.decode(line)
            if isinstance(item, _Revision):
                kind_named(item.kind).from_spec(item.spec)
        except (msgspec.MsgspecError, InvalidDefinition) as error:
            raise _refused(number, str(error)) from error
        if isinstance(item, _Project):
            projects[item.name] = ProjectRecord(**msgspec.structs.asdict(item))
            continue
        if item.project not in projects:
            raise _refused(number, f"its project {item.project!r} is not among the lines before")
        if item.revision != newest.get(item.key, 0) + 1:
            raise _refused(number, f"revision {item.revision} of {item.kind} {item.name!r} is out of turn")
        newest[item.key] = item.revision
        revisions.append(Revision(**msgspec.structs.asdict(item)))
    if DEFAULT_PROJECT not in projects:
        raise InvalidData(
            f"The dump has no project {DEFAULT_PROJECT!r}, which every registry has.",
            field="file",
            hint="Name what dump wrote, whole.",
        )
    return _portable(store).restore(projects.values(), revisions)


def _portable(store: RegistryStore) -> Portable:
    if not isinstance(store, Portable):
        raise Unsupported(f"{type(store).__name__} cannot be dumped or loaded.", hint="Open the registry by its URL.")
    return store


def _refused(number: int, reason: str) -> InvalidData:
    return InvalidData(
        f"Line {number} of the dump cannot be loaded: {reason}.",
        field=f"line {number}",
        hint="Load what `tiffin registry dump` wrote, unchanged.",
    )
