"""``tiffin version``."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed
from typing import Final

from tiffin._version import __version__
from tiffin.cli.session import Session, command, group

#: What the embedded store stands on.
_FOUNDATIONS: Final = ("polars", "deltalake", "lmdb", "sqlalchemy", "msgspec")

app = group("", "")


@command(app, "version", example="tiffin version\ntiffin version --json", store=False)
def version(session: Session) -> None:
    """Versions of Tiffin and of what it stands on."""
    versions = {"tiffin": __version__, "python": platform.python_version()}
    versions |= {name: installed(name) for name in _FOUNDATIONS}
    session.answer(versions, lambda: [f"{name:<12}{number}" for name, number in versions.items()])
