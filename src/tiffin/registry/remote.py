"""RemoteRegistry: the registry of a service, read from a cached snapshot as any other, and changed over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from tiffin.definitions.base import Meta
from tiffin.definitions.definition import Definition
from tiffin.refs import DEFAULT_PROJECT, NAME, PROJECT_NAME, check_project
from tiffin.registry import contents as documents
from tiffin.registry import rules
from tiffin.registry.base import Contents, Key, Revision
from tiffin.registry.plan import Plan
from tiffin.registry.reader import RECHECK_SECONDS, RegistryReader
from tiffin.registry.registry import author
from tiffin.registry.snapshot import Snapshot
from tiffin.remote.answers import raise_for
from tiffin.remote.http import Connection

#: Below which path of the service everything stands.
ROOT: Final = "/api/v1"
#: Seconds that a change may take: the service goes on trying while unrelated changes get in between.
CHANGE_SECONDS: Final = 60.0
DUMP_SECONDS: Final = 600.0

#: The part of a path that names a kind.
PATHS: Final = {"Entity": "entities", "FeatureTable": "feature-tables", "FeatureService": "feature-services"}


class RemoteSource:
    """What a service tells of its definitions to whoever asks: those of the projects that they may read."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        #: How many seconds ago the service's database confirmed what the service told last; infinite for never.
        self.behind = 0.0

    def version(self) -> int:
        return self.seen()[0]

    def seen(self) -> tuple[int, str]:
        """The version, and the name of the set of projects that are told."""
        answer = self.connection.get(f"{ROOT}/version")
        age = answer.get("age", 0.0)
        self.behind = float("inf") if age is None else float(age)
        return int(answer["version"]), str(answer["view"])

    def load(self, since: int = -1) -> Contents:
        """One consistent state; all of it, where the projects that are told are not known to be the same."""
        return documents.from_document(self.changes(since, "").contents)

    def changes(self, since: int, view: str) -> documents.ContentsAnswer:
        """What changed after a version, or everything where the view is another."""
        parameters = {"since": since, "view": view}
        answer = self.connection.exchange("GET", f"{ROOT}/contents", params=parameters)
        raise_for(self.connection.service, answer)
        return documents.decode_answer(answer.content)

    def history(self, key: Key) -> list[Revision]:
        answer = self.connection.get(f"{object_path(key)}/history")
        return msgspec.convert(answer, list[Revision])

    def close(self) -> None:
        self.connection.close()


class RemoteRegistry(RegistryReader):
    """The definitions that a registry service tells. Safe to use from several threads.

    It has the methods of :class:`~tiffin.registry.registry.Registry`. ``by`` counts where the service does not itself
    know who asks.
    """

    def __init__(
        self, connection: Connection, *, recheck: float = RECHECK_SECONDS, fallback: Contents | None = None
    ) -> None:
        self.connection = connection
        self._remote = RemoteSource(connection)
        self._view = ""
        super().__init__(self._remote, recheck=recheck, fallback=fallback)

    def plan(self, objects: Definition | Sequence[Definition], project: str | None = None) -> Plan:
        """What :meth:`apply` would change, with its impact; raises where a rule forbids it."""
        given = rules.checked(objects)
        place = check_project(project or DEFAULT_PROJECT)
        answer = self._change(f"{_project(place)}/plan", {"objects": _documents(given)}, retry=True)
        return _plan(answer)

    def apply(
        self,
        objects: Definition | Sequence[Definition],
        project: str | None = None,
        *,
        allow_breaking: bool = False,
        by: str | None = None,
    ) -> Plan:
        """Make the objects so, all or none, in one transaction; what changed.

        An apply whose answer was lost is sent again: what it did is then found done, and the plan that is returned
        says so.
        """
        given = rules.checked(objects)
        body = {"objects": _documents(given), "allow_breaking": allow_breaking, "by": by or author()}
        place = check_project(project or DEFAULT_PROJECT)
        answer = self._change(f"{_project(place)}/apply", body, retry=True)
        for each, meta in zip(given, msgspec.convert(answer["meta"], list[Meta]), strict=True):
            setattr(each, "meta", meta)  # noqa: B010  (every kind has it, their root does not)
        return _plan(answer)

    def delete(
        self,
        kind: type[Definition],
        name: str,
        project: str | None = None,
        *,
        allow_breaking: bool = False,
        by: str | None = None,
    ) -> Plan:
        """Delete an object softly: its history stays, and it can be revived. A second time changes nothing."""
        key = Key(project or DEFAULT_PROJECT, kind.__name__, name.strip())
        if not NAME.fullmatch(key.name) or not PROJECT_NAME.fullmatch(key.project):
            # No path names it, so the error is told here: there is no such object.
            self.snapshot(fresh=True).live(key.kind, key.name, key.project)
        answer = self.connection.delete(object_path(key), retry=True, allow_breaking=allow_breaking, by=by or author())
        self._changed_here()
        return _plan(answer)

    def rollback(
        self,
        name: str,
        revision: int,
        project: str | None = None,
        *,
        kind: type[Definition] | str | None = None,
        allow_breaking: bool = True,
        by: str | None = None,
    ) -> Plan:
        """Make an object again what an earlier revision left, as a new revision; it may break what came since."""
        place = project or DEFAULT_PROJECT
        key = Key(place, rules.pick_kind(self.snapshot(fresh=True), name, place, kind), name)
        body = {"revision": revision, "allow_breaking": allow_breaking, "by": by or author()}
        return _plan(self._change(f"{object_path(key)}/rollback", body, retry=True))

    def create_project(self, name: str, *, by: str | None = None) -> None:
        """Make a project. AlreadyExists where there is one of that name, archived or not."""
        self._change(f"{ROOT}/projects", {"name": check_project(name), "by": by or author()})

    def archive_project(self, name: str, *, by: str | None = None) -> None:
        """Make a project read-only and hide it from lists, for good; ``default`` cannot be."""
        if not PROJECT_NAME.fullmatch(name):
            self.snapshot(fresh=True).project(name)  # raises, as above
        self._change(f"{_project(name)}/archive", {"by": by or author()})

    def dump(self) -> Iterator[str]:
        """All projects with every revision, as lines of JSON; for an admin of every project."""
        answer = self.connection.exchange("GET", f"{ROOT}/dump", timeout=DUMP_SECONDS)
        raise_for(self.connection.service, answer)
        yield from answer.content.decode().splitlines()

    def _refreshed(self, current: Snapshot | None) -> Snapshot:
        seen = self._remote.seen()
        self._behind = self._remote.behind
        if current is not None and seen == (current.version, self._view):
            return current
        answer = self._remote.changes(-1 if current is None else current.version, self._view)
        self._view = answer.view
        contents = documents.from_document(answer.contents)
        return Snapshot(contents, None if answer.complete else current)

    def _change(self, path: str, body: dict[str, Any], *, retry: bool = False) -> Any:
        seconds = max(CHANGE_SECONDS, self.connection.timeout)
        answer = self.connection.post(path, body, retry=retry, timeout=seconds)
        self._changed_here()
        return answer


def object_path(key: Key) -> str:
    """Where an object stands; no name of a caller's leads out of its place."""
    return f"{_project(key.project)}/{PATHS[key.kind]}/{_part(key.name)}"


def _project(name: str) -> str:
    return f"{ROOT}/projects/{_part(name)}"


def _part(name: str) -> str:
    return quote(str(name), safe="")


def _documents(objects: Sequence[Definition]) -> list[dict[str, Any]]:
    return [each.to_document() for each in objects]


def _plan(answer: Any) -> Plan:
    return msgspec.convert(answer["plan"], Plan)
