"""Rules: whether an apply may happen, and what it would change (semantics, section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from tiffin.definitions.definition import Definition
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable
from tiffin.definitions.kinds import KINDS
from tiffin.errors import BreakingChange, FailedPrecondition, InvalidDefinition, NotFound, ProjectArchived, closest
from tiffin.refs import DEFAULT_PROJECT, FeatureRef, check_project
from tiffin.registry.base import Guard, Key, Record, Transaction, Update
from tiffin.registry.diff import Difference, differences, worst
from tiffin.registry.plan import Change, Plan, PlannedAction
from tiffin.registry.snapshot import WORDS, Snapshot


def checked(objects: object) -> list[Definition]:
    """The definitions of a call, each checked by its own rules; equal repetitions count once."""
    given = [objects] if isinstance(objects, Definition) else objects
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | dict):
        raise _not_a_definition(objects)
    kept: dict[tuple[str, str], Definition] = {}
    for each in given:
        if type(each).__name__ not in KINDS or not isinstance(each, Definition):
            raise _not_a_definition(each)
        each.check()
        identity = (type(each).__name__, name_of(each))
        if identity in kept and kept[identity] != each:
            raise InvalidDefinition(
                f"{WORDS[identity[0]].capitalize()} {identity[1]!r} is given twice, with different content.",
                field="name",
                hint="Give it once.",
            )
        kept.setdefault(identity, each)
    return list(kept.values())


def name_of(definition: Definition) -> str:
    """The name of a definition."""
    return str(getattr(definition, "name", ""))


def plan(snapshot: Snapshot, objects: Sequence[Definition], project: str) -> Plan:
    """What applying checked definitions would change; raises where a rule forbids it whatever is allowed."""
    check_project(project)
    creates = project not in snapshot.projects
    if creates and not any(isinstance(each, Entity) for each in objects):
        snapshot.project(project)  # raises: only an entity creates its project on the way
    if not creates:
        check_active(snapshot, project)
    given = {Key(project, type(each).__name__, name_of(each)): each for each in objects}
    _check_entities(snapshot, given, project)
    _check_services(snapshot, given, project)
    changes = tuple(_change(snapshot, key, each) for key, each in given.items())
    return Plan(project, changes, creates_project=creates, version=snapshot.version)


def deletion(snapshot: Snapshot, kind: str, name: str, project: str) -> Plan:
    """What deleting an object would change; raises where something still needs it."""
    record = snapshot.live(kind, name, project)
    check_active(snapshot, project)
    if kind == Entity.__name__:
        users = [each.name for each in _tables(snapshot, project) if name in each.entities]
        if users:
            raise FailedPrecondition(
                f"Entity {name!r} of project {project!r} is used by feature table {users[0]!r}"
                + (f" and {len(users) - 1} more." if len(users) > 1 else "."),
                field="name",
                hint="Delete its tables first.",
            )
    touched = _touched(snapshot, record.key, None)
    return Plan(
        project,
        (Change(kind, record.key.name, "delete", "destructive", record.revision, services=touched),),
        version=snapshot.version,
    )


def rollback(snapshot: Snapshot, goal: Definition, project: str) -> Plan:
    """What making an object again what it once was would change; raises where the rules of today forbid it."""
    planned = plan(snapshot, [goal], project)
    changes = tuple(
        change if change.action == "none" else msgspec.structs.replace(change, action="rollback")
        for change in planned.changes
    )
    return msgspec.structs.replace(planned, changes=changes)


def check_active(snapshot: Snapshot, project: str) -> None:
    """Raise ProjectArchived for a project that is read-only."""
    if snapshot.project(project).archived is not None:
        raise ProjectArchived(
            f"Project {project!r} is archived: its definitions can be read but not changed.",
            field="project",
            hint="Name another project: archiving is for good.",
        )


def check_allowed(planned: Plan, *, allow_breaking: bool) -> None:
    """Raise BreakingChange where a plan breaks something and the caller did not allow that."""
    breaking = [change for change in planned.changes if change.impact in {"breaking", "destructive"}]
    if breaking and not allow_breaking:
        shown = "\n".join(str(change) for change in breaking)
        raise BreakingChange(
            f"The change is {planned.impact} and was not allowed; nothing was changed.\n{shown}\n",
            field="allow_breaking",
            hint="Pass allow_breaking=True if that is meant.",
        )


def transaction(snapshot: Snapshot, planned: Plan, objects: Sequence[Definition], *, by: str, at: int) -> Transaction:
    """The plan as updates with preconditions: on the objects that change and on those that they rely on."""
    given = {(type(each).__name__, name_of(each)): each for each in objects}
    updates: list[Update] = []
    guards: dict[Key, Guard] = {}
    for change in planned.changes:
        if change.action == "none":
            continue
        key = Key(planned.project, change.kind, change.name)
        record = snapshot.record(key)
        if change.action == "delete":
            assert record is not None  # a plan of deletion starts from a live record
            updates.append(Update(key, "delete", record.hash, record.spec, change.revision))
            if change.kind == Entity.__name__:  # no table may begin to use it meanwhile
                guards[key] = Guard(planned.project, FeatureTable.__name__, None, snapshot.version)
            continue
        each = given[change.kind, change.name]
        spec = msgspec.json.encode(each.to_spec())
        updates.append(Update(key, change.action, each.content_hash(), spec, change.revision))
        for needed in _needs(each, planned.project):
            if (needed.kind, needed.name) not in given or needed.project != planned.project:
                guards[needed] = Guard(*needed, since=snapshot.version)
    create = (planned.project,) if planned.creates_project else ()
    return Transaction(by=by, at=at, updates=tuple(updates), guards=tuple(guards.values()), create=create)


def _needs(definition: Definition, project: str) -> list[Key]:
    """The objects that a definition relies on."""
    if isinstance(definition, FeatureTable):
        return [Key(project, Entity.__name__, name) for name in definition.entities]
    if isinstance(definition, FeatureService):
        return [Key(ref.project or project, FeatureTable.__name__, ref.feature_table) for ref in definition.refs]
    return []


def _change(snapshot: Snapshot, key: Key, after: Definition) -> Change:
    record = snapshot.record(key)
    if record is None:
        return Change(key.kind, key.name, "create", "compatible")
    before = snapshot.shared(key) if record.hash != after.content_hash() else after
    _check_value_type(before, after, key.project)
    if record.deleted:
        return Change(key.kind, key.name, "revive", "compatible", record.revision, differences(before, after))
    if before == after:
        return Change(key.kind, key.name, "none", "none", record.revision)
    return changed(snapshot, record, before, after, "update")


def changed(snapshot: Snapshot, record: Record, before: Definition, after: Definition, action: PlannedAction) -> Change:
    """The change of a live object from one content to another."""
    key = record.key
    details = differences(before, after)
    touched = _touched(snapshot, key, details)
    return Change(key.kind, key.name, action, worst(each.impact for each in details), record.revision, details, touched)


def _check_value_type(before: Definition, after: Definition, project: str) -> None:
    if isinstance(before, Entity) and isinstance(after, Entity) and before.value_type is not after.value_type:
        raise FailedPrecondition(
            f"Entity {after.name!r} of project {project!r} has value type {before.value_type.name}, which cannot "
            f"change to {after.value_type.name}.",
            field="value_type",
            hint="Create an entity of another name.",
        )


def _check_entities(snapshot: Snapshot, given: dict[Key, Definition], project: str) -> None:
    """Every entity of a table exists in its project or comes with it."""
    known = {record.key.name for record in snapshot.records(Entity.__name__, project) if not record.deleted}
    known |= {each.name for each in given.values() if isinstance(each, Entity)}
    for table in given.values():
        if not isinstance(table, FeatureTable):
            continue
        for entity in table.entities:
            if entity not in known:
                raise NotFound(
                    f"Feature table {table.name!r} refers to entity {entity!r}, which does not exist in project "
                    f"{project!r}.",
                    field="entities",
                    hint=closest(entity, known),
                )


def _check_services(snapshot: Snapshot, given: dict[Key, Definition], project: str) -> None:
    """Every feature of a service exists or comes with it, and no two give the same column."""
    for each in given.values():
        columns: dict[str, FeatureRef] = {}
        for ref in each.refs if isinstance(each, FeatureService) else ():
            key = Key(ref.project or project, FeatureTable.__name__, ref.feature_table)
            table = given.get(key) or snapshot.peek(FeatureTable, key.name, key.project)
            assert isinstance(table, FeatureTable)  # given and stored under this kind
            names = [feature.name for feature in table.features]
            if ref.name not in names:
                raise NotFound(
                    f"FeatureService {name_of(each)!r} names {str(ref)!r}, but the table has no such feature.",
                    field="features",
                    hint=closest(ref.name, names),
                )
            other = columns.setdefault(ref.column, ref)
            if other != ref:
                raise InvalidDefinition(
                    f"FeatureService {name_of(each)!r}: {str(other)!r} and {str(ref)!r} would both be the column "
                    f"{ref.column!r}.",
                    field="features",
                    hint="Leave one of them out.",
                )


def _tables(snapshot: Snapshot, project: str) -> list[FeatureTable]:
    live = [record for record in snapshot.records(FeatureTable.__name__, project) if not record.deleted]
    shared = [snapshot.shared(record.key) for record in live]
    return [each for each in shared if isinstance(each, FeatureTable)]


def _touched(snapshot: Snapshot, key: Key, details: tuple[Difference, ...] | None) -> tuple[str, ...]:
    """The services that a change of a table touches; None for its deletion.

    An added feature touches none; a change of single features those that name them; any other change all that read
    the table.
    """
    if key.kind != FeatureTable.__name__:
        return ()
    features = {detail.feature for detail in details or ()}
    every = details is None or "" in features
    touched: list[str] = []
    for record in snapshot.records(FeatureService.__name__):
        service = snapshot.shared(record.key)
        if record.deleted or not isinstance(service, FeatureService):
            continue
        for ref in service.refs:
            of_table = (ref.project or record.key.project, ref.feature_table) == (key.project, key.name)
            if of_table and (every or ref.name in features):
                touched.append(f"{record.key.project}/{record.key.name}")
                break
    return tuple(touched)


def check_archivable(snapshot: Snapshot, project: str) -> None:
    """Raise where a project cannot be archived."""
    if project == DEFAULT_PROJECT:
        raise FailedPrecondition(
            "Archiving the default project is not allowed.",
            field="project",
            hint="It is the one that calls mean by default.",
        )
    check_active(snapshot, project)


def _not_a_definition(given: object) -> InvalidDefinition:
    return InvalidDefinition(
        f"Only entities, feature tables and feature services can be applied, got {given!r}.",
        field="objects",
        hint="Give one of them or a list.",
    )


def pick_kind(snapshot: Snapshot, name: str, project: str, kind: Any) -> str:
    """The kind of the object that a name means, deleted or not; an error where it means none or several."""
    wanted = kind if isinstance(kind, str) or kind is None else kind.__name__
    snapshot.project(project)
    found = [each for each in KINDS if snapshot.record(Key(project, each, name)) and wanted in {None, each}]
    if len(found) == 1:
        return found[0]
    if not found:
        known = [record.key.name for record in snapshot.records(wanted, project)]
        raise NotFound(
            f"There is no {WORDS.get(wanted or '', 'object')} {name!r} in project {project!r}.",
            field="name",
            hint=closest(name, known),
        )
    raise FailedPrecondition(
        f"{name!r} is the name of several objects of project {project!r}: {', '.join(found)}.",
        field="kind",
        hint=f"Pass kind={found[0]!r}, for example.",
    )
