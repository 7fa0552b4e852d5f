"""The routes of projects."""

from __future__ import annotations

import msgspec
from litestar import Controller
from litestar.params import FromQuery, JSONBody

from tiffin.refs import check_project
from tiffin.registry.access import Role
from tiffin.registry.base import ProjectRecord
from tiffin.serving.access.rules import Rule
from tiffin.serving.core.definitions import By
from tiffin.serving.core.page import USUAL, Cursor, Limit, Page, page
from tiffin.serving.core.routes import Caller, Here, InPath, answers


class NewProject(msgspec.Struct, forbid_unknown_fields=True):
    """A project to be made; ``by`` claims who asks, where the service does not know."""

    name: str
    by: By = ""


class Named(msgspec.Struct):
    """The project that changed."""

    name: str


class Claim(msgspec.Struct, forbid_unknown_fields=True):
    """Who asks, where the service does not know."""

    by: By = ""


class Projects(Controller):
    """Projects, of which each caller sees those that it may read."""

    path = "/projects"
    tags = ["projects"]

    @answers("GET", "/", Rule(Role.READER, "list projects", "handler"))
    def list_projects(
        self, core: Here, caller: Caller, limit: Limit = USUAL, cursor: Cursor = None, archived: FromQuery[bool] = False
    ) -> Page[ProjectRecord]:
        """The projects that are not archived, by name; the others, too, where that is asked for."""
        projects = core.snapshot().projects
        found = [
            projects[name]
            for name in sorted(projects)
            if caller.allows(name, Role.READER) and (archived or projects[name].archived is None)
        ]
        return page(found, lambda each: each.name, str, limit, cursor)

    @answers("POST", "/", Rule(Role.WRITER, "create project", "handler"), status=201)
    def create_project(self, core: Here, caller: Caller, data: JSONBody[NewProject]) -> Named:
        """Make a project."""
        core.gate.require(caller, check_project(data.name), Role.WRITER, action="create project")
        core.registry.create_project(data.name, by=core.author(caller, data.by))
        core.refresh()
        core.metrics.change(data.name, "create project")
        return Named(data.name)

    @answers("POST", "/{project:str}/archive", Rule(Role.ADMIN, "archive project"))
    def archive_project(
        self, core: Here, caller: Caller, project: InPath, data: JSONBody[Claim | None] = None
    ) -> Named:
        """Make a project read-only and hide it from lists, for good."""
        core.registry.archive_project(project, by=core.author(caller, data.by if data is not None else ""))
        core.refresh()
        core.metrics.change(project, "archive project")
        return Named(project)
