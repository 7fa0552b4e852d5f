"""A place of each kind for a registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.registry.places import Place


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A database of each kind, nothing in it."""
    from tests.registry.places import PostgresPlace, SqlitePlace

    if request.param == "sqlite":
        return SqlitePlace(tmp_path / "deep" / "registry.db")
    return PostgresPlace(request.getfixturevalue("postgres"))
