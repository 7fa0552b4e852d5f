"""Dialect: what both databases are told alike."""

from __future__ import annotations

import json
from typing import Any, Final

#: Execution options of a connection: its transaction will write, and how many seconds a statement of it may take.
WRITE: Final = "tiffin_write"
PATIENCE: Final = "tiffin_patience"


def as_json(value: Any) -> str:
    """A value of a JSON column."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def storable(text: str) -> str:
    """A text that every database holds: NUL and halves of characters are written as escapes."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
