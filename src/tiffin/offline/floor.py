"""The floor of a lake: the oldest version whose files are all there. What is below it was vacuumed.

It is raised before the first file is removed, so that no reader is sent to files that are about to vanish.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Final

import msgspec

from tiffin.offline.area import AREA
from tiffin.offline.delta import delta_errors
from tiffin.offline.location import filesystem, is_remote

_NAME: Final = "floor.json"


class Floor(msgspec.Struct, frozen=True):
    """Which versions of the table of an identity are whole: those from ``version`` on, and ``kept`` below it."""

    identity: str
    version: int = 0
    kept: tuple[int, ...] = ()

    def holds(self, version: int) -> bool:
        """Whether the files of a version are all there."""
        return version >= self.version or version in self.kept


def floor_of(uri: str, identity: str) -> Floor:
    """The floor of the table of this identity at a normalised location; one at 0 where nothing was vacuumed."""
    place = f"{uri}/{AREA}/{_NAME}"
    with delta_errors(uri):
        try:
            data = filesystem(uri).cat_file(place) if is_remote(uri) else Path(place).read_bytes()
        except FileNotFoundError:
            return Floor(identity)
    found = msgspec.json.decode(data, type=Floor)
    return found if found.identity == identity else Floor(identity)


def raise_floor(uri: str, floor: Floor) -> None:
    """Note which versions may lose files from here on. One that was given up before stays so."""
    before = floor_of(uri, floor.identity)
    kept = tuple(version for version in floor.kept if before.holds(version))
    data = msgspec.json.encode(Floor(floor.identity, max(floor.version, before.version), kept))
    place = f"{uri}/{AREA}/{_NAME}"
    with delta_errors(uri):
        if is_remote(uri):
            filesystem(uri).pipe_file(place, data)
            return
        grown = Path(f"{place}.{uuid.uuid4().hex}")
        grown.parent.mkdir(exist_ok=True)
        with grown.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        grown.replace(place)
