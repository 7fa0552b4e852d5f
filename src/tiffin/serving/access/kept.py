"""Kept: what a service must know to start while others are away, in files that only its owner may read or write."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import StorageError
from tiffin.registry.snapshot_file import write_private

_log = logging.getLogger(__name__)


class _Kept(msgspec.Struct, frozen=True):
    about: str
    document: Any


class KeptFile:
    """One JSON document on disk, replaced atomically. It decides who is admitted, so it is not taken from others.

    ``about`` names whom it was learnt from: what another registry or issuer said once has no say here. Each has a file
    of its own, so that services which share a home do not take each other's.
    """

    def __init__(self, path: Path, about: str) -> None:
        self._about = hashlib.sha256(about.encode()).hexdigest()
        self.path = path.with_stem(f"{path.stem}-{self._about[:12]}")

    def load(self) -> Any | None:
        """The document, None where there is none that can be trusted."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    _log.warning("%s is not used: others than its service may write it", self.path)
                    return None
                kept = msgspec.json.decode(file.read(), type=_Kept)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, RecursionError) as error:
            _log.warning("%s cannot be read: %s", self.path, type(error).__name__)
            return None
        return kept.document if kept.about == self._about else None

    def save(self, document: object) -> None:
        """Replace the document. A disk that refuses is logged: the service goes on with what it holds in memory."""
        try:
            write_private(self.path, msgspec.json.encode(_Kept(self._about, document)))
        except StorageError as error:
            _log.warning("%s", error)
