"""Scrubbing a log: the least and greatest keys of files, which a log keeps for ever, go where they are keys that went.

A log is never changed otherwise. But statistics are a help that readers do without, and those of a file that was
replaced help nobody: so entries are written anew without the bounds that tell of such a key, as long as they were and
of the same instant, by which some readers tell versions. Checkpoints that tell of it give way to one of the newest
version; those of archived entries are written anew.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import polars as pl

from tiffin.offline.area import remove
from tiffin.offline.delta import ARCHIVE, LOG, delta_errors, open_table
from tiffin.offline.location import filesystem, is_remote

_BOUNDS: Final = ("minValues", "maxValues")

Has = Callable[[Sequence[Any]], bool]
"""Whether one of some bounds is a key that goes."""


def scrub(uri: str, column: str, has: Has) -> int:
    """Take the bounds of a raw column that are keys that went out of the log of a table; out of how many files."""
    with delta_errors(uri):
        # In this order: an entry that is archived meanwhile is found there.
        return sum(_scrubbed(uri, log, column, has) for log in (LOG, f"{ARCHIVE}/{LOG}"))


def _scrubbed(uri: str, log: str, column: str, has: Has) -> int:
    """One folder of a log: its entries, then its checkpoints."""
    names = _names(uri, log)
    entries = sum(_entry(uri, name, column, has) for name in names if name.endswith(".json"))
    telling = [name for name in names if name.endswith(".parquet") and _checkpoint(uri, name, column, has) is not None]
    table = open_table(uri) if telling and log == LOG else None
    if table is not None:
        table.create_checkpoint()  # so that who begins to read now needs no older one
    for name in telling:
        content = _checkpoint(uri, name, column, has)
        with suppress(FileNotFoundError):  # archived under our hands
            if content is not None and log == LOG:
                # Who is reading it must not find other bytes in the middle, but nothing, and begin again.
                remove(uri, [name])
            elif content is not None:
                _write(uri, name, content)
    return entries + len(telling)


def _names(uri: str, log: str) -> list[str]:
    if is_remote(uri):
        found = filesystem(uri).ls(f"{uri}/{log}", detail=False) if log == LOG else []
        return sorted(f"{log}/{path.rpartition('/')[2]}" for path in found)
    folder = Path(uri) / log
    return sorted(f"{log}/{path.name}" for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _entry(uri: str, name: str, column: str, has: Has) -> bool:
    with suppress(FileNotFoundError):  # as above
        lines = _read(uri, name).decode().split("\n")
        scrubbed = [_line(line, column, has) for line in lines]
        if scrubbed != lines:
            _write(uri, name, "\n".join(scrubbed).encode())
            return True
    return False


def _line(line: str, column: str, has: Has) -> str:
    """One action of an entry."""
    if '"stats"' not in line:
        return line
    action: dict[str, Any] = json.loads(line)
    for kind in ("add", "remove"):
        told = action.get(kind) or {}
        stats = _without(told.get("stats"), column, has)
        if stats is not None:
            told["stats"] = stats
            shorter = json.dumps(action, separators=(",", ":"), ensure_ascii=False)
            # As long as it was: who is reading the entry asks for as many bytes as it had when it was listed.
            line = shorter + " " * (len(line.encode()) - len(shorter.encode()))
    return line


def _without(stats: str | None, column: str, has: Has) -> str | None:
    """Statistics without a column's bounds, None where they tell of no key that goes."""
    told: dict[str, Any] = json.loads(stats) if stats else {}
    bounds = [told[side][column] for side in _BOUNDS if column in (told.get(side) or {})]
    if not bounds or not has(bounds):
        return None
    for side in _BOUNDS:
        told.get(side, {}).pop(column, None)
    return json.dumps(told)


def _checkpoint(uri: str, name: str, column: str, has: Has) -> bytes | None:
    """A checkpoint without such bounds; None where it has none."""
    try:
        rows = pl.read_parquet(io.BytesIO(_read(uri, name)))
    except FileNotFoundError:  # as above
        return None
    if "add" not in rows.columns:
        return None
    stats = rows["add"].struct.field("stats").to_list()
    scrubbed = [_without(each, column, has) or each for each in stats]
    if scrubbed == stats:
        return None
    told = pl.Series("stats", scrubbed, pl.String)
    content = io.BytesIO()
    rows.with_columns(pl.col("add").struct.with_fields(told)).write_parquet(content, compression="snappy")
    return content.getvalue()


def _read(uri: str, name: str) -> bytes:
    place = f"{uri}/{name}"
    if is_remote(uri):
        content: bytes = filesystem(uri).cat_file(place)
        return content
    return Path(place).read_bytes()


def _write(uri: str, name: str, content: bytes) -> None:
    """Put a file in place of the one of its name, at once."""
    place = f"{uri}/{name}"
    if is_remote(uri):
        filesystem(uri).pipe_file(place, content)
        return
    path = Path(place)
    found = path.stat()
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.utime(draft, ns=(found.st_atime_ns, found.st_mtime_ns))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
