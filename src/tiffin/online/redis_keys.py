"""Names of keys in Redis.

::

    PREFIX{}/project/table/<entity key>     a row: the bytes that the codec made
    PREFIX{project/table}/layouts           the layouts of a table, by number
    PREFIX{project/table}/mark              how far the table was materialised

Names are percent-encoded, so that a slash ends one and no name holds a character that patterns or braces know; what
follows the last slash of a row's key is any bytes. A cluster puts a key where the text in its first pair of braces
says, or the whole key where that is empty: so the rows of a table spread over all nodes whatever bytes their keys hold,
and what is known of a table lies on one node, where a script may touch all of it.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from tiffin.online.base import TableId

_GLOB: Final = re.compile(rb"([*?\[\]\\^-])")


class Keys:
    """The keys of one table under a prefix."""

    __slots__ = ("layouts", "mark", "rows")

    def __init__(self, prefix: str, table: TableId) -> None:
        name = f"{quote(table.project, safe='')}/{quote(table.table, safe='')}"
        #: What the keys of all rows begin with.
        self.rows = f"{prefix}{{}}/{name}/".encode()
        self.layouts = f"{prefix}{{{name}}}/layouts".encode()
        self.mark = f"{prefix}{{{name}}}/mark".encode()

    @property
    def pattern(self) -> bytes:
        """The pattern of SCAN that the rows match, and nothing else does."""
        return _GLOB.sub(rb"\\\1", self.rows) + b"*"
