"""The routes of definitions: entities, feature tables and feature services, one kind a controller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import msgspec
from litestar import Controller
from litestar.params import JSONBody, QueryParameter

from tiffin.definitions.definition import Definition
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable
from tiffin.errors import BreakingChange, InvalidArgument
from tiffin.registry.access import Principal, Role
from tiffin.registry.base import Revision
from tiffin.registry.diff import Difference
from tiffin.registry.plan import Plan
from tiffin.registry.registry import Show
from tiffin.serving.access.rules import Rule, require_all
from tiffin.serving.core.page import USUAL, Cursor, Limit, Page, mapped, page
from tiffin.serving.core.routes import GREATEST, PLAIN, Caller, Here, InPath, answers
from tiffin.serving.core.state import Core

Number = Annotated[int, QueryParameter(ge=1, le=GREATEST, description="A revision.")]
MaybeNumber = Annotated[int | None, QueryParameter(ge=1, le=GREATEST, description="A revision; else the newest.")]
Author = Annotated[
    str, QueryParameter(max_length=255, pattern=PLAIN, description="Who asks, where the service does not know.")
]
Labels = Annotated[list[str] | None, QueryParameter(description="`key=value`, all of which must be carried.")]
Forced = Annotated[bool, QueryParameter(description="Also where it breaks others; needs the role admin.")]

#: By whom a change is claimed to be made; its length is what the database holds.
By = Annotated[str, msgspec.Meta(max_length=255, pattern=PLAIN)]


class Document(msgspec.Struct):
    """A definition: its kind, its content, and what the registry knows of it."""

    kind: str
    spec: dict[str, Any]
    meta: dict[str, Any] | None = None


class Back(msgspec.Struct, forbid_unknown_fields=True):
    """To which revision; ``by`` claims who asks, where the service does not know."""

    revision: Annotated[int, msgspec.Meta(ge=1, le=GREATEST)]
    allow_breaking: bool = False
    by: By = ""


class Changed(msgspec.Struct):
    """What a change did, or would do."""

    plan: Plan
    impact: str


class Definitions(Controller):
    """The objects of one kind in one project."""

    kind: ClassVar[type[Definition]]

    @answers("GET", "/", Rule(Role.READER, "list"))
    def list_objects(
        self, core: Here, project: InPath, limit: Limit = USUAL, cursor: Cursor = None, label: Labels = None
    ) -> Page[Document]:
        """The objects that carry all labels, by name."""
        found = core.snapshot().objects(self.kind, project, read_labels(label))
        return mapped(page(found, lambda each: str(getattr(each, "name", "")), str, limit, cursor), document)

    @answers("GET", "/{name:str}", Rule(Role.READER, "get"))
    def get_object(self, core: Here, project: InPath, name: InPath, revision: MaybeNumber = None) -> Document:
        """One object, as it is or as an earlier revision left it."""
        if revision is None:
            return document(core.snapshot().get(self.kind, name, project))
        return document(core.registry.get(self.kind, name, project, revision=revision))

    @answers("GET", "/{name:str}/history", Rule(Role.READER, "history"))
    def get_history(self, core: Here, project: InPath, name: InPath) -> list[Revision]:
        """Every revision of an object, the oldest first, deleted or not."""
        return core.registry.history(name, project, kind=self.kind)

    @answers("GET", "/{name:str}/diff", Rule(Role.READER, "diff"))
    def get_diff(self, core: Here, project: InPath, name: InPath, a: Number, b: Number) -> list[Difference]:
        """What changed from revision a to revision b."""
        return list(core.registry.diff(name, a, b, project, kind=self.kind))

    @answers("DELETE", "/{name:str}", Rule(Role.WRITER, "delete"))
    def delete_object(
        self,
        core: Here,
        caller: Caller,
        project: InPath,
        name: InPath,
        allow_breaking: Forced = False,
        by: Author = "",
    ) -> Changed:
        """Delete an object; its history stays. A second time changes nothing."""
        allowed = allow_breaking and caller.allows(project, Role.ADMIN)
        author = core.author(caller, by)
        try:
            plan = core.registry.delete(
                self.kind, name, project, allow_breaking=allowed, by=author, show=shown_to(caller)
            )
        except BreakingChange:
            demand(core, caller, project, asked=allow_breaking)
            raise
        return changed(core, plan, "delete")

    @answers("POST", "/{name:str}/rollback", Rule(Role.WRITER, "rollback"))
    def roll_back(self, core: Here, caller: Caller, project: InPath, name: InPath, data: JSONBody[Back]) -> Changed:
        """Make an object again what an earlier revision left, as a new revision."""
        if self.kind is FeatureService:
            goal = core.registry.get(FeatureService, name, project, revision=data.revision)
            check_references(core, caller, project, [goal], action="rollback")
        allowed = data.allow_breaking and caller.allows(project, Role.ADMIN)
        author = core.author(caller, data.by)
        try:
            plan = core.registry.rollback(
                name,
                data.revision,
                project,
                kind=self.kind,
                allow_breaking=allowed,
                by=author,
                show=shown_to(caller),
            )
        except BreakingChange:
            demand(core, caller, project, asked=data.allow_breaking)
            raise
        return changed(core, plan, "rollback")


class Entities(Definitions):
    """The entities of a project."""

    path = "/projects/{project:str}/entities"
    tags = ["entities"]
    kind = Entity


class FeatureTables(Definitions):
    """The feature tables of a project."""

    path = "/projects/{project:str}/feature-tables"
    tags = ["feature tables"]
    kind = FeatureTable


class FeatureServices(Definitions):
    """The feature services of a project."""

    path = "/projects/{project:str}/feature-services"
    tags = ["feature services"]
    kind = FeatureService


def document(definition: Definition) -> Document:
    """A definition as it travels."""
    return Document(**definition.to_document())


def changed(core: Core, plan: Plan, action: str) -> Changed:
    """The answer to a change, which is counted where it changed something."""
    if not plan.is_empty:
        core.refresh()
        core.metrics.change(plan.project, action)
    return Changed(plan, plan.impact)


def shown_to(caller: Principal) -> Show:
    """How plans are told to a caller: without services of projects that the caller may not read."""
    return lambda plan: plan.telling(lambda service: caller.allows(service.partition("/")[0], Role.READER))


def check_references(
    core: Core, caller: Principal, project: str, services: Iterable[FeatureService], *, action: str
) -> None:
    """Raise PermissionDenied unless the caller is a reader of every project whose features the services name."""
    others = {ref.project for each in services for ref in each.refs if ref.project} - {project}
    require_all(core.gate, caller, others, Role.READER, action=action)


def demand(core: Core, caller: Principal, project: str, *, asked: bool) -> None:
    """Of a change that breaks others: raise PermissionDenied where it was asked for and is not the caller's to make."""
    if asked:
        core.gate.require(caller, project, Role.ADMIN, action="breaking change")


def read_labels(texts: list[str] | None) -> dict[str, str]:
    """Labels from texts such as ``team=rides``."""
    found = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidArgument(f"{text!r} is not a label.", field="label", hint="Write label=KEY=VALUE.")
        found[key] = value
    return found
