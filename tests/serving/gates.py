"""Gates for tests: a source of tokens that can be taken away, and the tokens in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tiffin.config import Config
from tiffin.errors import Unavailable
from tiffin.registry.access import Role, read_grants
from tiffin.registry.audit import AuditLog, Event, Question
from tiffin.registry.database import open_database
from tiffin.registry.tokens import Known, Token, TokenStore
from tiffin.serving.access.sources import DatabaseSource


class Realm:
    """A registry's database with tokens, and a source over it that fails while ``is_away``."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'realm.db'}"
        self.engine = open_database(self.url)
        self.store = TokenStore(self.engine)
        self.log = AuditLog(self.engine)
        self.is_away = False
        self.writes = 0
        self._source = DatabaseSource(lambda: self.engine)

    def token(self, name: str, *grants: str, **more: Any) -> str:
        """The text of a new token."""
        return self.store.create(name, read_grants(grants or ["default=reader"]), by="test", **more)[1]

    def find(self, name: str) -> Token:
        return next(token for token in self.store.tokens() if token.name == name)

    def denials(self) -> list[Event]:
        return self.log.events(Question(denied=True))

    def known(self, since: int) -> Known:
        self._check()
        return self._source.known(since)

    def add(self, events: Sequence[Event]) -> None:
        self._check()
        self.writes += 1
        self._source.add(events)

    def prune(self, before: int) -> None:
        self._check()
        self._source.prune(before)

    def close(self) -> None:
        """The engine is closed by :meth:`end`."""

    def end(self) -> None:
        self.engine.dispose()

    def _check(self) -> None:
        if self.is_away:
            raise Unavailable("The registry is away.")


def config(folder: Path, **options: Any) -> Config:
    return Config({"home": str(folder / "home")} | options)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> float:
    """Wait for something; the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not come to be"
        time.sleep(0.01)
    return time.monotonic() - began


READER, WRITER, ADMIN = Role.READER, Role.WRITER, Role.ADMIN
