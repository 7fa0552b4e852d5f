"""Migrate: bring an older database to the schema of :mod:`tiffin.registry.tables`, through Alembic."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

FOLDER: Final = Path(__file__).parent / "migrations"


def migrate(connection: sa.Connection, *, to: str = "head") -> None:
    """Run the missing migrations inside the connection's own transaction."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
