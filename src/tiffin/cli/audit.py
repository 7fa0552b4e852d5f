"""``tiffin audit list``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiffin.cli.session import Session, command, group
from tiffin.cli.token import desk, instant

if TYPE_CHECKING:
    from rich.console import RenderableType

app = group("audit", "Who changed what, and who was denied.")


@command(app, "list", example="tiffin audit list --since 1d\ntiffin audit list --project rides --denied --json")
def list_events(
    session: Session,
    principal: Annotated[str | None, typer.Option(metavar="NAME", help="Only what this caller did.")] = None,
    action: Annotated[str | None, typer.Option(metavar="ACTION", help="Only this, such as push or update.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Not what was before: an instant, or a span such as 12h or 7d.")
    ] = None,
    denied: Annotated[
        bool | None, typer.Option("--denied/--done", help="Only what was denied, or only what was done.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="The most events to show.")] = 100,
) -> None:
    """Changes and denials, the newest first: of one project with --project, else of all.

    Equal denials of one minute, and equal changes of data, are one line with a count.
    """
    from tiffin.registry.audit import Question

    question = Question(
        project=session.project,
        principal=principal,
        action=action,
        since=None if since is None else instant(since, field="since", ahead=False),
        denied=denied,
        limit=limit,
    )
    found = desk(session).events(question)
    session.answer(found, lambda: _listing(found))


def _listing(found: list[dict[str, Any]]) -> list[RenderableType]:
    from tiffin.cli.view import mark, table

    if not found:
        return ["No events."]
    rows = [
        (
            each["at"],
            each["principal"] or "?",
            each["project"],
            each["action"],
            mark("FAILED", "denied") if each["denied"] else "done",
            f"{each['count']:,}",
            each["detail"],
        )
        for each in found
    ]
    return [table(["at", "who", "project", "action", "outcome", "times", "detail"], rows, right=["times"])]
