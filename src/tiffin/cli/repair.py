"""``tiffin repair``: what crashes have cut off is finished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiffin.cli import output
from tiffin.cli.progress import working
from tiffin.cli.session import Session, command, group

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.commit import Commit

app = group("", "")


@command(app, "repair", example="tiffin repair\ntiffin repair --project rides")
def repair(session: Session) -> None:
    """Finish what crashes have cut off.

    Pushes that reached the history alone are written to the online store, materialisations are done again, files and
    dead letters of batches that were never stored are removed, and jobs whose process is gone are recorded as failed.
    Nothing has to be stopped for it, and it may be run at any time.
    """
    with working("Repairing"):
        commits = session.client.repair(project=session.project)
    session.answer(output.plain(commits), lambda: _finished(commits))


def _finished(commits: list[Commit]) -> list[RenderableType]:
    from tiffin.cli.view import count, words

    if not commits:
        return ["Nothing was left undone."]
    return [
        words(
            ("✓ ", "green"), f"{count(commit.rows, 'row')} of {commit.feature_table}, version {commit.version}, online."
        )
        for commit in commits
    ]
