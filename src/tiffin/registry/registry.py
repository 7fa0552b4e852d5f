"""Registry: definitions in a store: the reading half, and changes under the rules."""

from __future__ import annotations

import getpass
import random
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from tiffin import clock
from tiffin.definitions.base import Meta
from tiffin.definitions.definition import Definition
from tiffin.errors import AlreadyExists, BreakingChange, ConcurrentChange, FailedPrecondition
from tiffin.refs import DEFAULT_PROJECT, check_project
from tiffin.registry import rules
from tiffin.registry.base import Contents, Key, RegistryStore, Transaction
from tiffin.registry.plan import Plan
from tiffin.registry.reader import RECHECK_SECONDS, RegistryReader
from tiffin.registry.snapshot import Snapshot

Show = Callable[[Plan], Plan]
"""How plans are told, in answers and in errors: a service leaves out what its caller may not read."""

#: How long an apply goes on trying while unrelated changes get in between, in seconds.
PATIENCE_SECONDS: Final = 30.0


def as_it_is(plan: Plan) -> Plan:
    """All that a plan tells."""
    return plan


class Registry(RegistryReader):
    """The definitions of all projects, in a store. Safe to use from several threads.

    ``project`` is always optional and means ``default``. ``by`` names who makes a change, ``user@host`` if left out.
    ``show`` decides what a plan tells, nothing else.
    """

    def __init__(
        self, store: RegistryStore, *, recheck: float = RECHECK_SECONDS, fallback: Contents | None = None
    ) -> None:
        super().__init__(store, recheck=recheck, fallback=fallback)
        self.store = store

    def plan(self, objects: Definition | Sequence[Definition], project: str | None = None) -> Plan:
        """What :meth:`apply` would change, with its impact; raises where a rule forbids it."""
        snapshot = self.snapshot(fresh=True)
        given = rules.checked(objects)
        self._check_seen(snapshot, given, project or DEFAULT_PROJECT)
        return rules.plan(snapshot, given, project or DEFAULT_PROJECT)

    def apply(
        self,
        objects: Definition | Sequence[Definition],
        project: str | None = None,
        *,
        allow_breaking: bool = False,
        by: str | None = None,
        show: Show = as_it_is,
    ) -> Plan:
        """Make the objects so, all or none, in one transaction; what changed.

        An object that was read from the registry, or applied before, must not have changed there since: otherwise
        ConcurrentChange. Each object's ``meta`` is brought up to date. Breaking changes need ``allow_breaking``.
        """
        place = project or DEFAULT_PROJECT
        given = rules.checked(objects)
        seen: list[Snapshot] = []

        def build(snapshot: Snapshot, at: int) -> tuple[Plan, Transaction]:
            seen[:] = [snapshot]
            self._check_seen(snapshot, given, place)
            planned = rules.plan(snapshot, given, place)
            rules.check_allowed(show(planned), allow_breaking=allow_breaking)
            return planned, rules.transaction(snapshot, planned, given, by=by or author(), at=at)

        done, at = self._commit(build)
        _update_meta(seen[0], done, given, at)
        return show(done)

    def delete(
        self,
        kind: type[Definition],
        name: str,
        project: str | None = None,
        *,
        allow_breaking: bool = False,
        by: str | None = None,
        show: Show = as_it_is,
    ) -> Plan:
        """Delete an object softly: its history stays, and it can be revived. A second time changes nothing.

        Raises FailedPrecondition for an entity that tables use, and BreakingChange for a table that services read,
        unless ``allow_breaking``.
        """
        place = project or DEFAULT_PROJECT

        def build(snapshot: Snapshot, at: int) -> tuple[Plan, Transaction]:
            record = snapshot.record(Key(place, kind.__name__, name.strip()))
            if record is not None and record.deleted:
                return Plan(place, (), version=snapshot.version), Transaction(by="", at=at)
            planned = rules.deletion(snapshot, kind.__name__, name, place)
            if planned.services and not allow_breaking:
                told = show(planned).services
                service = f"feature service {told[0]!r}" if told else "a feature service of another project"
                raise BreakingChange(
                    f"Feature table {name!r} is read by {service}; nothing was changed.",
                    field="allow_breaking",
                    hint="Change the service first, or pass allow_breaking=True.",
                )
            return planned, rules.transaction(snapshot, planned, [], by=by or author(), at=at)

        return show(self._commit(build)[0])

    def rollback(
        self,
        name: str,
        revision: int,
        project: str | None = None,
        *,
        kind: type[Definition] | str | None = None,
        allow_breaking: bool = True,
        by: str | None = None,
        show: Show = as_it_is,
    ) -> Plan:
        """Make an object again what an earlier revision left, as a new revision; it may break what came since."""
        place = project or DEFAULT_PROJECT
        target = self._revision(name, revision, project, kind)
        if target.action == "delete":
            raise FailedPrecondition(
                f"Revision {revision} of {name!r} is its deletion.",
                field="revision",
                hint="Delete it, or name another.",
            )
        goal = target.definition()

        def build(snapshot: Snapshot, at: int) -> tuple[Plan, Transaction]:
            planned = rules.rollback(snapshot, goal, place)
            rules.check_allowed(show(planned), allow_breaking=allow_breaking)
            return planned, rules.transaction(snapshot, planned, [goal], by=by or author(), at=at)

        return show(self._commit(build)[0])

    def create_project(self, name: str, *, by: str | None = None) -> None:
        """Make a project. AlreadyExists where there is one of that name, archived or not."""
        check_project(name)

        def build(snapshot: Snapshot, at: int) -> tuple[Plan, Transaction]:
            if name in snapshot.projects:
                raise AlreadyExists(
                    f"There is a project {name!r} already.", field="project", hint="Use it, or choose another name."
                )
            return Plan(name, (), creates_project=True), Transaction(by=by or author(), at=at, create=(name,))

        self._commit(build)

    def archive_project(self, name: str, *, by: str | None = None) -> None:
        """Make a project read-only and hide it from lists, for good; ``default`` cannot be."""

        def build(snapshot: Snapshot, at: int) -> tuple[Plan, Transaction]:
            rules.check_archivable(snapshot, name)
            return Plan(name, ()), Transaction(by=by or author(), at=at, archive=(name,))

        self._commit(build)

    def _commit(self, build: Callable[[Snapshot, int], tuple[Plan, Transaction]]) -> tuple[Plan, int]:
        """Plan on a fresh snapshot and commit; plan again while other changes come in between.

        A caller's own precondition is checked by ``build``: what it raises ends the attempts.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        pause = 0.002
        while True:
            at = clock.now()
            planned, transaction = build(self.snapshot(fresh=True), at)
            if not (transaction.updates or transaction.create or transaction.archive):
                return planned, at
            try:
                version = self.store.commit(transaction)
            except ConcurrentChange:
                if time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0, pause))  # noqa: S311  (spreads retries, guards nothing)
                pause = min(pause * 2, 0.25)
                continue
            self._changed_here()
            return msgspec.structs.replace(planned, version=version), at

    def _check_seen(self, snapshot: Snapshot, objects: Sequence[Definition], project: str) -> None:
        """Raise ConcurrentChange for an object that changed since the caller's copy was read.

        A copy whose meta is of another object (of another project or registry, say) has seen nothing of this one,
        and a deleted object may be revived by whoever still holds it.
        """
        for each in objects:
            meta: Meta | None = getattr(each, "meta", None)
            record = snapshot.record(Key(project, type(each).__name__, rules.name_of(each)))
            if meta is None or record is None or record.deleted or record.revision == meta.revision:
                continue
            if record.hash == each.content_hash():
                continue
            history = self.store.history(record.key)
            if any(past.revision == meta.revision and past.hash == meta.hash for past in history):
                raise ConcurrentChange(
                    f"{record.key.kind} {record.key.name!r} of project {project!r} is at revision {record.revision}; "
                    f"the change was made to revision {meta.revision}.",
                    field="meta",
                    hint="Read it again, make the change there and retry.",
                )


def _update_meta(snapshot: Snapshot, done: Plan, objects: Sequence[Definition], at: int) -> None:
    """Give the caller's objects the meta of the revisions that hold them."""
    changes = {(change.kind, change.name): change for change in done.changes}
    for each in objects:
        change = changes[type(each).__name__, rules.name_of(each)]
        record = snapshot.record(Key(done.project, change.kind, change.name))
        if change.action == "none" and record is not None:
            meta = record.meta
        else:
            created = record.created if record is not None else at
            meta = Meta(revision=change.revision + 1, created=created, updated=at, hash=each.content_hash())
        setattr(each, "meta", meta)  # noqa: B010  (every kind has it, their root does not)


def author() -> str:
    """Who makes a change: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # no such user in the password file, as in many containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
