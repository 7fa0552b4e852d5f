"""The routes that readers follow: which version there is, and what changed since the one they hold.

Each caller gets the projects that it may read. A ``view`` names which those are: a reader whose view is another than
the one it holds gets everything anew, so that neither a role it lost nor one it gained leaves a stale picture.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
from litestar import Controller, Response
from litestar.params import QueryParameter
from litestar.response import Stream

from tiffin.errors import Unavailable
from tiffin.registry import contents as documents
from tiffin.registry import transfer
from tiffin.registry.access import EVERY_PROJECT, Principal, Role
from tiffin.registry.base import Contents
from tiffin.registry.contents import ContentsAnswer
from tiffin.serving.access.rules import Rule
from tiffin.serving.core.routes import Caller, Here, answers
from tiffin.serving.core.state import Core

_EVERYTHING: Final = -1

Since = Annotated[
    int, QueryParameter(ge=_EVERYTHING, le=2**63 - 1, description="The version that is held; -1 for none.")
]
Held = Annotated[str, QueryParameter(max_length=64, description="The view that is held.")]


class Version(msgspec.Struct):
    """The registry's version, and the view of whoever asks.

    ``age`` is in seconds since the database confirmed that version, null where it never did to this process.
    """

    version: int
    view: str
    age: float | None = None


class Reading(Controller):
    """The registry as readers follow it."""

    path = "/"
    tags = ["reading"]

    @answers("GET", "/version", Rule(Role.READER, "version", "handler"))
    def version(self, core: Here, caller: Caller) -> Version:
        """What a reader compares with what it holds."""
        version = core.snapshot().version
        return Version(version, view_of(caller), None if math.isinf(core.age) else round(core.age, 3))

    @answers("GET", "/contents", Rule(Role.READER, "contents", "handler"))
    def contents(self, core: Here, caller: Caller, since: Since = _EVERYTHING, view: Held = "") -> Response[bytes]:
        """The projects that the caller may read, and their objects that changed after version ``since``.

        ``complete`` says that it is everything, in place of whatever the caller holds. Instants are UTC microseconds.
        """
        own = view_of(caller)
        found, complete = _changes(core, since if view == own else _EVERYTHING)
        projects = tuple(each for each in found.projects if caller.allows(each.name, Role.READER))
        names = {each.name for each in projects}
        seen = Contents(found.version, projects, tuple(each for each in found.records if each.key.project in names))
        answer = ContentsAnswer(own, complete, documents.to_document(seen))
        return Response(msgspec.json.encode(answer), media_type="application/json")

    @answers("GET", "/dump", Rule(Role.ADMIN, "dump", "every"))
    def dump(self, core: Here) -> Stream:
        """The whole history of every project, as the JSON lines that ``tiffin registry load`` reads."""
        store = core.registry.store
        lines = transfer.dump(store)
        first = next(lines, "")  # what is wrong shows before the answer begins
        return Stream(_ended(first, lines), media_type="application/x-ndjson")


def view_of(caller: Principal) -> str:
    """A name for the set of projects that a caller may read; projects need not exist yet."""
    if caller.allows(EVERY_PROJECT, Role.READER):
        return EVERY_PROJECT
    names = sorted(name for name in caller.roles if caller.allows(name, Role.READER))
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:32]


def _changes(core: Core, since: int) -> tuple[Contents, bool]:
    """What changed after a version, and whether it is everything."""
    snapshot = core.snapshot()
    if since == snapshot.version:
        return Contents(since, tuple(snapshot.projects.values()), ()), False
    if since > snapshot.version and core.is_away:
        raise Unavailable(
            f"The database is away, and version {since} is newer than what is held of it.", hint="Try again later."
        )
    if _EVERYTHING < since < snapshot.version and not core.is_away:
        return core.registry.store.load(since), False
    return snapshot.contents(), True


def _ended(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield f"{first}\n"
    for line in lines:
        yield f"{line}\n"
