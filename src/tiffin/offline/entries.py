"""Entries of a log, each read by its version.

What delta-rs calls a table's history counts down from the newest entry that it finds, whatever version the table is
open at: where another writer commits meanwhile every entry would pass for its neighbour. Here an entry is its file.
Old entries may lie in the archive (``archive.py``), or be gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tiffin.offline.delta import ARCHIVE, LOG, delta_errors
from tiffin.offline.location import filesystem, is_remote


def entry_of(uri: str, version: int) -> dict[str, Any] | None:
    """What the commit of a version says of itself, with its ``version``; None where its entry is gone."""
    if version < 0:
        return None
    with delta_errors(uri):
        # In this order: an entry that is moved between two looks is found by the second.
        for place in (LOG, f"{ARCHIVE}/{LOG}"):
            data = _read(uri, f"{place}/{version:020}.json")
            if data is not None:
                return {"operation": "", **_commit_info(data), "version": version}
    return None


def has_entry(uri: str, version: int) -> bool:
    """Whether the log itself still has the entry of a version; on buckets nothing is archived, so that it is True."""
    return is_remote(uri) or (Path(uri) / LOG / f"{version:020}.json").exists()


def entries(uri: str, newest: int) -> Iterator[dict[str, Any]]:
    """The entries from a version down, until one is gone."""
    for version in range(newest, -1, -1):
        entry = entry_of(uri, version)
        if entry is None:
            return
        yield entry


def _read(uri: str, path: str) -> bytes | None:
    try:
        if is_remote(uri):
            data: bytes = filesystem(uri).cat_file(f"{uri}/{path}")
            return data
        return (Path(uri) / path).read_bytes()
    except FileNotFoundError:
        return None


def _commit_info(data: bytes) -> dict[str, Any]:
    for line in data.splitlines():
        if b'"commitInfo"' in line:
            action: dict[str, dict[str, Any]] = msgspec.json.decode(line)
            if "commitInfo" in action:
                return action["commitInfo"]
    return {}
