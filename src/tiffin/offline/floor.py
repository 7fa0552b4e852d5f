"""The floor of a lake: the oldest version whose files are all there. What is below it was vacuumed.

It is raised before the first file is removed, so that no reader is sent to files that are about to vanish.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from tiffin.offline.area import AREA
from tiffin.offline.delta import delta_errors
from tiffin.offline.location import filesystem, is_remote

_NAME: Final = "floor.json"


class _Floor(msgspec.Struct, frozen=True):
    identity: str
    version: int


def floor_of(uri: str, identity: str) -> int:
    """The oldest whole version of the table of this identity at a normalised location; 0 where none was vacuumed."""
    place = f"{uri}/{AREA}/{_NAME}"
    with delta_errors(uri):
        try:
            data = filesystem(uri).cat_file(place) if is_remote(uri) else Path(place).read_bytes()
        except FileNotFoundError:
            return 0
    found = msgspec.json.decode(data, type=_Floor)
    return found.version if found.identity == identity else 0


def raise_floor(uri: str, identity: str, version: int) -> None:
    """Note that versions below ``version`` may lose files from here on; a floor is never lowered."""
    if version <= floor_of(uri, identity):
        return
    data = msgspec.json.encode(_Floor(identity, version))
    place = f"{uri}/{AREA}/{_NAME}"
    with delta_errors(uri):
        if is_remote(uri):
            filesystem(uri).pipe_file(place, data)
            return
        grown = Path(f"{place}.{os.getpid()}")
        grown.parent.mkdir(exist_ok=True)
        with grown.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        grown.replace(place)
