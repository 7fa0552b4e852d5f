"""RemoteErasures: the erasures that a registry service keeps. Keys never travel, only their hashes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from tiffin.registry.erasures import Erasure, Told
from tiffin.registry.remote import ROOT
from tiffin.remote.http import Connection


class RemoteErasures:
    """The erasures of a registry service: :class:`~tiffin.registry.erasures.ErasureSource`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def version(self) -> int:
        return int(self._connection.get(f"{ROOT}/version")["version"])

    def told(self, since: int = -1) -> Told:
        return msgspec.convert(self._connection.get(f"{ROOT}/erasures/keys", since=since), Told)

    def salt(self, project: str) -> bytes:
        return bytes.fromhex(self._connection.post(f"{_path(project)}/salt", retry=True)["salt"])

    def begin(self, project: str, entity: str, digests: Iterable[str], *, by: str) -> list[Erasure]:
        body = {"entity": entity, "digests": list(digests), "by": by}
        return msgspec.convert(self._connection.post(_path(project), body, retry=True), list[Erasure])

    def record(self, done: Sequence[tuple[Erasure, Mapping[str, Any]]], *, state: str, by: str) -> list[Erasure]:
        recorded = []
        for erasure, report in done:
            place = f"{_path(erasure.project)}/{quote(erasure.id, safe='')}"
            answer = self._connection.put(place, {"state": state, "report": dict(report), "by": by}, retry=True)
            recorded.append(msgspec.convert(answer, Erasure))
        return recorded

    def find(self, project: str | None = None) -> list[Erasure]:
        return msgspec.convert(self._connection.get(f"{ROOT}/erasures", project=project), list[Erasure])


def _path(project: str) -> str:
    return f"{ROOT}/projects/{quote(project, safe='')}/erasures"
