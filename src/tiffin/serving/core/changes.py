"""The routes that plan and apply definitions, which travel as documents with their meta.

So a change that was made to an older revision than the present one is refused here exactly as in an embedded store.
"""

from __future__ import annotations

import msgspec
from litestar import Controller
from litestar.params import JSONBody

from tiffin.definitions.base import Meta
from tiffin.definitions.definition import Definition
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.kinds import kind_named
from tiffin.errors import BreakingChange
from tiffin.registry import rules
from tiffin.registry.access import Principal, Role
from tiffin.serving.access.rules import Rule
from tiffin.serving.core.definitions import By, Changed, Document, changed, check_references, demand, shown_to
from tiffin.serving.core.routes import Caller, Here, InPath, answers
from tiffin.serving.core.state import Core


class Objects(msgspec.Struct, forbid_unknown_fields=True):
    """Definitions, in any order."""

    objects: list[Document]


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """Definitions to be made so, all or none; ``by`` claims who asks, where the service does not know."""

    objects: list[Document]
    allow_breaking: bool = False
    by: By = ""


class Applied(Changed):
    """What an apply did; ``meta`` is of the objects in the order given, repeated ones left out."""

    meta: list[Meta]


class Changes(Controller):
    """Changes of the definitions of one project."""

    path = "/projects/{project:str}"
    tags = ["changes"]

    @answers("POST", "/plan", Rule(Role.READER, "plan"))
    def plan(self, core: Here, caller: Caller, project: InPath, data: JSONBody[Objects]) -> Changed:
        """What an apply would change, and how grave that is."""
        given = _read(core, caller, project, data.objects)
        plan = shown_to(caller)(core.registry.plan(given, project))
        return Changed(plan, plan.impact)

    @answers("POST", "/apply", Rule(Role.WRITER, "apply"))
    def apply(self, core: Here, caller: Caller, project: InPath, data: JSONBody[Wanted]) -> Applied:
        """Make the objects so, all or none. A second time, after an answer that was lost, changes nothing."""
        given = _read(core, caller, project, data.objects)
        allowed = data.allow_breaking and caller.allows(project, Role.ADMIN)
        author = core.author(caller, data.by)
        try:
            plan = core.registry.apply(given, project, allow_breaking=allowed, by=author, show=shown_to(caller))
        except BreakingChange:
            demand(core, caller, project, asked=data.allow_breaking)
            raise
        done = changed(core, plan, "apply")
        return Applied(done.plan, done.impact, [_meta(each) for each in given])


def _read(core: Core, caller: Principal, project: str, documents: list[Document]) -> list[Definition]:
    """The definitions of a request. Whoever names features of another project must be a reader there."""
    read = [kind_named(each.kind).from_document(_plain(each)) for each in documents]
    given = rules.checked(read)
    services = [each for each in given if isinstance(each, FeatureService)]
    check_references(core, caller, project, services, action="apply")
    return given


def _plain(document: Document) -> dict[str, object]:
    plain: dict[str, object] = msgspec.structs.asdict(document)
    return plain


def _meta(definition: Definition) -> Meta:
    meta: Meta = getattr(definition, "meta")  # noqa: B009  (every kind has it, their root does not)
    return meta
