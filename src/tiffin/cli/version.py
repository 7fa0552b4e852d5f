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
    """Versions of Tiffin, of what it stands on, and of the services that the options name."""
    versions = {"tiffin": __version__, "python": platform.python_version()}
    versions |= {name: installed(name) for name in _FOUNDATIONS}
    versions |= _of_services(session)
    session.answer(versions, lambda: [f"{name:<12}{number}" for name, number in versions.items()])


def _of_services(session: Session) -> dict[str, str]:
    from tiffin.deployment import has_core, has_serving

    if not (has_core(session.config) or has_serving(session.config)):
        return {}
    told = session.client.version()
    return {name: told[name]["version"] for name in ("core", "serving") if isinstance(told[name], dict)}
