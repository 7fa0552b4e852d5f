"""Kept: what a service must know to start while others are away, in files that only its owner may read or write."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import StorageError
from tiffin.registry.snapshot_file import write_private

_log = logging.getLogger(__name__)


class KeptFile:
    """One JSON document on disk, replaced atomically. It decides who is admitted, so it is not taken from others."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Any | None:
        """The document, None where there is none that can be trusted."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    _log.warning("%s is not used: others than its service may write it", self.path)
                    return None
                return msgspec.json.decode(file.read())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            _log.warning("%s cannot be read: %s", self.path, type(error).__name__)
            return None

    def save(self, document: object) -> None:
        """Replace the document. A disk that refuses is logged: the service goes on with what it holds in memory."""
        try:
            write_private(self.path, msgspec.json.encode(document))
        except StorageError as error:
            _log.warning("%s", error)
