"""Access: who may do what (semantics, section 9): roles of principals, by project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

import msgspec

from tiffin.errors import InvalidArgument, closest
from tiffin.refs import LONGEST_NAME, PROJECT_NAME

#: Stands for every project, those that will be made later too. No project can have this name.
EVERY_PROJECT: Final = "*"


class Role(IntEnum):
    """What a principal may do in a project; each includes those before it.

    A reader reads definitions, features and jobs. A writer changes them: apply, ingest, push, materialize. An admin
    makes changes that break or destroy, archives, and governs tokens and the audit log.
    """

    READER = 1
    WRITER = 2
    ADMIN = 3


Roles = Mapping[str, Role]


class Principal(msgspec.Struct, frozen=True):
    """Whoever calls, with a role in each of some projects; the role under ``*`` holds in every one."""

    name: str
    roles: dict[str, Role]

    def role(self, project: str) -> Role | None:
        """The greatest role in a project; None where there is none. ``*`` asks for the role in every project."""
        mine, everywhere = self.roles.get(project), self.roles.get(EVERY_PROJECT)
        if mine is None or (everywhere is not None and everywhere > mine):
            return everywhere
        return mine

    def allows(self, project: str, role: Role) -> bool:
        """Whether the principal has at least this role in a project."""
        mine = self.role(project)
        return mine is not None and mine >= role


def read_role(text: object) -> Role:
    """A role by its name, in any case.

    >>> read_role("writer")
    <Role.WRITER: 2>
    """
    names = {role.name.lower(): role for role in Role}
    role = names.get(text.strip().lower()) if isinstance(text, str) else None
    if role is None:
        raise InvalidArgument(f"{text!r} is not a role.", field="role", hint=closest(str(text), names))
    return role


def read_roles(roles: object) -> dict[str, Role]:
    """Roles by project from ``{"project": "reader"}``, at least one; ``*`` stands for every project."""
    if not isinstance(roles, Mapping) or not roles:
        raise InvalidArgument(
            "Roles must name at least one project.", field="roles", hint='Write {"default": "reader"}, for example.'
        )
    return {check_scope(project): read_role(role) for project, role in roles.items()}


def read_grants(grants: Iterable[str]) -> dict[str, Role]:
    """Roles by project from texts such as ``default=reader``.

    >>> read_grants(["*=admin", "rides=reader"])
    {'*': <Role.ADMIN: 3>, 'rides': <Role.READER: 1>}
    """
    roles: dict[str, str] = {}
    for grant in grants:
        project, equals, role = grant.partition("=")
        if not equals or project in roles:
            raise InvalidArgument(
                f"{grant!r} names a project again." if equals else f"{grant!r} is not a role in a project.",
                field="role",
                hint="Write PROJECT=reader, PROJECT=writer or PROJECT=admin, once a project; * is every project.",
            )
        roles[project] = role
    return read_roles(roles)


def check_scope(project: object) -> str:
    """The name of a project, or ``*``; names that only look like one are refused."""
    if project == EVERY_PROJECT:
        return EVERY_PROJECT
    if not isinstance(project, str) or not PROJECT_NAME.fullmatch(project) or len(project) > LONGEST_NAME:
        raise InvalidArgument(
            f"{project!r} is not the name of a project.",
            field="roles",
            hint=f"Use letters, digits, underscores and dashes, at most {LONGEST_NAME}; or * for every project.",
        )
    return project


def named(roles: Roles) -> dict[str, str]:
    """Roles as plain data: ``{"project": "reader"}``."""
    return {project: role.name.lower() for project, role in sorted(roles.items())}
