"""Redacting: words go out of the texts that jobs and the audit log left in the database: errors, and lines of logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import sqlalchemy as sa

from tiffin.registry import tables
from tiffin.registry.database import reading, writing

#: The columns of texts.
_TEXTS: Final = (tables.jobs.c.error, tables.job_logs.c.line, tables.audit.c.detail)
#: Words that one query looks for.
_WORDS: Final = 50


def redact(engine: sa.Engine, words: Sequence[str], blanked: Callable[[str], str], *, dry_run: bool = False) -> int:
    """Replace texts that hold one of ``words`` by what ``blanked`` makes of them; how many texts that changes."""
    with reading(engine) as connection:
        found = [
            (column, text) for column in _TEXTS for text in _holding(connection, column, words) if blanked(text) != text
        ]
    if not found or dry_run:
        return len(found)
    with writing(engine) as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA secure_delete = ON")  # what is replaced is overwritten in the file
        for column, text in found:
            connection.execute(column.table.update().where(column == text).values({column.name: blanked(text)}))
    if engine.dialect.name == "sqlite":
        _empty_journal(engine)
    return len(found)


def _holding(connection: sa.Connection, column: sa.Column[str], words: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(words), _WORDS):
        some = [column.contains(word, autoescape=True) for word in words[start : start + _WORDS]]
        yield from connection.execute(sa.select(column).where(sa.or_(*some)).distinct()).scalars()


def _empty_journal(engine: sa.Engine) -> None:
    """Have SQLite move its journal into the file, and cut it off."""
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        raw.close()
