"""Assertions of the shipped suite explain themselves as those of tests do; and a place of each kind for a registry."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.registry.places import Place

pytest.register_assert_rewrite("tiffin.testing.registry")


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A database of each kind, nothing in it."""
    from tests.registry.places import PostgresPlace, SqlitePlace

    if request.param == "sqlite":
        return SqlitePlace(tmp_path / "deep" / "registry.db")
    return PostgresPlace(request.getfixturevalue("postgres"))
