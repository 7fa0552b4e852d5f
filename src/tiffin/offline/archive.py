"""Archive: old entries of a log moved out of the way, so that a commit costs the same after a million of them.

Whoever opens a table or commits to it lists the folder of its log. Entries below a checkpoint are only needed to go
back: they are moved, the oldest first, to a log below ``_tiffin_archive/`` that holds no data and is a table in itself.
Tiffin reads older versions there, and when commits were made. On buckets a listing begins where it is asked to, and
nothing is moved.

An entry that a writer may still compete with is never moved: none of the last ``RECENT`` versions, none that is younger
than ``RECENT_S``, and none above the version that a batch on its way (``area.py``) goes by.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final

from tiffin.offline.area import bases
from tiffin.offline.delta import ARCHIVE, LOG, delta_errors
from tiffin.offline.location import is_remote

#: How many versions of a table every program can open, and for how many seconds.
RECENT: Final = 256
RECENT_S: Final = 300.0

_NAME: Final = re.compile(r"(\d{20})\.(json|checkpoint\.parquet)")


def archive(uri: str) -> int:
    """Move what may be moved of the log at a normalised location; how many entries."""
    log = Path(uri) / LOG
    if is_remote(uri) or not log.is_dir():
        return 0
    with delta_errors(uri):
        found = sorted((int(match[1]), path) for path in log.iterdir() if (match := _NAME.fullmatch(path.name)))
        entries = [version for version, path in found if path.suffix == ".json"]
        checkpoints = [version for version, path in found if path.suffix == ".parquet"]
        newest = max(entries, default=0)
        floor = min([newest - RECENT, *bases(uri)])
        below = max((version for version in checkpoints if version <= floor), default=0)
        old = time.time() - RECENT_S
        moved = 0
        place = Path(uri) / ARCHIVE / LOG
        for version, path in found:
            if version >= below or path.stat().st_mtime > old:
                break
            place.mkdir(parents=True, exist_ok=True)
            path.rename(place / path.name)
            moved += path.suffix == ".json"
    return moved


def forget(uri: str, retention_s: float) -> None:
    """Remove archived entries that were written so many seconds ago, from a checkpoint on that is as old."""
    place = Path(uri) / ARCHIVE / LOG
    if is_remote(uri) or not place.is_dir():
        return
    old = time.time() - retention_s
    with delta_errors(uri):
        found = sorted((int(match[1]), path) for path in place.iterdir() if (match := _NAME.fullmatch(path.name)))
        ripe = [version for version, path in found if path.suffix == ".parquet" and path.stat().st_mtime < old]
        for version, path in found:
            if version < max(ripe, default=0):
                path.unlink(missing_ok=True)
