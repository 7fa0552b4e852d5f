"""The routes of leases: who may do what alone.

The second part of a name is the project that the lease is about, as in ``repair/default/trips``; a name without one is
about all projects. To take it, a caller must be a writer there.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller
from litestar.params import JSONBody

from tiffin.jobs.lease import LONGEST, LeaseRecord
from tiffin.registry.access import EVERY_PROJECT, Role
from tiffin.serving.access.rules import Rule
from tiffin.serving.core.routes import PLAIN, Caller, Here, answers

Name = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[A-Za-z0-9_.:@-]+(/[A-Za-z0-9_.:@-]+)*$")]
Owner = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=PLAIN)]


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """A lease that somebody wants, or holds and renews."""

    name: Name
    owner: Owner
    seconds: Annotated[float, msgspec.Meta(gt=0, le=LONGEST)]


class Returned(msgspec.Struct, forbid_unknown_fields=True):
    """A lease that its owner gives back."""

    name: Name
    owner: Owner


class Taken(msgspec.Struct):
    """Whether the owner that asked holds the lease now."""

    taken: bool


class LeaseRoutes(Controller):
    """Leases of all processes."""

    path = "/leases"
    tags = ["jobs"]

    @answers("GET", "/", Rule(Role.READER, "list leases", "handler"))
    def list_leases(self, core: Here, caller: Caller) -> list[LeaseRecord]:
        """The leases that are held, of the projects that the caller may read."""
        return [each for each in core.jobs.leases.held() if caller.allows(_project(each.name), Role.READER)]

    @answers("POST", "/take", Rule(Role.WRITER, "take lease", "handler"))
    def take(self, core: Here, caller: Caller, data: JSONBody[Wanted]) -> Taken:
        """Take a lease, or renew it; the clock of the database decides."""
        core.gate.require(caller, _project(data.name), Role.WRITER, action="take lease")
        return Taken(core.jobs.leases.take(data.name, data.owner, data.seconds))

    @answers("POST", "/release", Rule(Role.WRITER, "release lease", "handler"))
    def release(self, core: Here, caller: Caller, data: JSONBody[Returned]) -> Taken:
        """Give a lease back; nothing where the owner does not hold it."""
        core.gate.require(caller, _project(data.name), Role.WRITER, action="release lease")
        core.jobs.leases.release(data.name, data.owner)
        return Taken(taken=False)


def _project(name: str) -> str:
    """The project that a lease is about; ``*`` is every one."""
    parts = name.split("/")
    return parts[1] if len(parts) > 1 else EVERY_PROJECT
