"""The routes of erasures: which keys were erased, as hashes, and how far the work of each is.

The work itself is done where the stores are reached. Neither here nor in any request is there a key.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Response
from litestar.params import FromQuery, JSONBody, PathParameter, QueryParameter

from tiffin.errors import InvalidArgument, NotFound
from tiffin.refs import LONGEST_NAME
from tiffin.registry.access import EVERY_PROJECT, Role
from tiffin.registry.erasures import DONE, RUNNING, Erasure, ErasureStore, Told
from tiffin.serving.access.rules import Rule
from tiffin.serving.access.sources import engine_of
from tiffin.serving.core.definitions import By
from tiffin.serving.core.routes import GREATEST, PLAIN, Caller, Here, InPath, answers
from tiffin.serving.core.state import Core

Since = Annotated[int, QueryParameter(ge=-1, le=GREATEST, description="The version that is held; -1 for none.")]
ErasureId = Annotated[str, PathParameter(max_length=32, pattern=r"^[0-9a-f]+$", description="An erasure.")]
_Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
#: Erasures of one request, and the letters of a report.
_MOST = 10_000
_LONGEST_REPORT = 100_000
#: A secret is not kept by proxies.
_PRIVATE = {"Cache-Control": "no-store"}


class NewErasures(msgspec.Struct, forbid_unknown_fields=True):
    """Keys of one entity that are erased, as keyed hashes."""

    entity: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME, pattern=PLAIN)]
    digests: Annotated[list[_Digest], msgspec.Meta(min_length=1, max_length=_MOST)]
    by: By = ""


class Progress(msgspec.Struct, forbid_unknown_fields=True):
    """How far an erasure is."""

    state: Annotated[str, msgspec.Meta(pattern=f"^({RUNNING}|{DONE})$")]
    report: dict[str, Any]
    by: By = ""


class Salt(msgspec.Struct):
    """The secret of the hashes, in hexadecimal."""

    salt: str

    def __repr__(self) -> str:
        return "Salt(...)"


class ErasureRoutes(Controller):
    """Erasures of all projects."""

    tags = ["erasures"]

    @answers("GET", "/erasures/keys", Rule(Role.READER, "read erased keys", "handler"))
    def get_keys(self, core: Here, caller: Caller, since: Since = -1) -> Response[Told]:
        """The keys that were erased after a version, as (project, entity, hash), and the secret of the hashes.

        Both are for writers, who leave such rows out. `hidden` are projects with erasures that the caller may read and
        not write.
        """
        store = _store(core)
        told = store.told(since)
        mine = tuple(key for key in told.keys if caller.allows(key[0], Role.WRITER))
        readable = {each for each in store.projects() if caller.allows(each, Role.READER)}
        hidden = tuple(sorted(each for each in readable if not caller.allows(each, Role.WRITER)))
        return Response(Told(told.version, told.salt if mine else "", mine, hidden), headers=_PRIVATE)

    @answers("GET", "/erasures", Rule(Role.ADMIN, "list erasures", "handler"))
    def list_erasures(self, core: Here, caller: Caller, project: FromQuery[str | None] = None) -> list[Erasure]:
        """Erasures, the newest first: of one project, or, for admins of every one, of all."""
        place = EVERY_PROJECT if project is None else project
        core.gate.require(caller, place, Role.ADMIN, action="list erasures")
        return _store(core).find(project)

    @answers("POST", "/projects/{project:str}/erasures/salt", Rule(Role.ADMIN, "read salt"))
    def get_salt(self, core: Here, project: InPath) -> Response[Salt]:
        """The secret of the hashes, made with its first use."""
        core.snapshot().project(project)
        return Response(Salt(_store(core).salt(project).hex()), headers=_PRIVATE)

    @answers("POST", "/projects/{project:str}/erasures", Rule(Role.ADMIN, "erase"), status=201)
    def begin(self, core: Here, caller: Caller, project: InPath, data: JSONBody[NewErasures]) -> list[Erasure]:
        """Record that keys are erased: from the answer's versions on no writer stores them."""
        core.snapshot().project(project)
        digests = list(dict.fromkeys(data.digests))
        begun = _store(core).begin(project, data.entity, digests, by=core.author(caller, data.by))
        core.refresh()
        return begun

    @answers("PUT", "/projects/{project:str}/erasures/{erasure_id:str}", Rule(Role.ADMIN, "erase"))
    def record(
        self, core: Here, caller: Caller, project: InPath, erasure_id: ErasureId, data: JSONBody[Progress]
    ) -> Erasure:
        """Record how far an erasure is."""
        if len(msgspec.json.encode(data.report)) > _LONGEST_REPORT:
            raise InvalidArgument("The report is too long.", field="report", hint="Name fewer places.")
        store = _store(core)
        found = next((each for each in store.find(project) if each.id == erasure_id), None)
        if found is None:
            raise NotFound(f"Project {project!r} has no erasure {erasure_id!r}.", field="erasure_id")
        [recorded] = store.record([(found, data.report)], state=data.state, by=core.author(caller, data.by))
        return recorded


def _store(core: Core) -> ErasureStore:
    return ErasureStore(engine_of(core.workspace))
