"""The registry service within a test's own process: quick to start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from litestar.testing import TestClient

from tiffin.config import Config
from tiffin.registry.access import read_grants
from tiffin.registry.sql import open_registry
from tiffin.registry.tokens import TokenStore
from tiffin.serving.core.app import create_app
from tiffin.serving.core.edge import Edge

#: Callers by name, with the roles that their tokens have.
CALLERS = {
    "root": ["*=admin"],
    "reader": ["default=reader"],
    "writer": ["default=writer", "rides=reader"],
    "admin": ["default=admin"],
    "stranger": ["elsewhere=admin"],
}


@contextmanager
def core_client(folder: Path, **options: Any) -> Iterator[TestClient[Edge]]:
    """A client of a service that keeps its definitions in a folder."""
    with TestClient(create_app(Config({"home": str(folder)} | options)), raise_server_exceptions=False) as client:
        yield client


def database(folder: Path) -> str:
    """Where that service keeps them."""
    return f"sqlite:///{folder / 'registry.db'}"


def tokens(url: str) -> dict[str, dict[str, str]]:
    """New tokens of all callers in a database, as headers by name."""
    with closing(open_registry(url)) as store:
        made = TokenStore(store.engine)
        return {name: bearer(made.create(name, read_grants(roles), by="test")[1]) for name, roles in CALLERS.items()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
