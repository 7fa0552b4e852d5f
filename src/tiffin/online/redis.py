"""The online store on Redis: a server, the master of sentinels, or a cluster.

One key a row (``redis_keys.py``), written by a script that compares ranks (``redis_scripts.py``), so that writers may
race in any process. What is durable when a write returns is what the server makes so: with ``appendonly`` and
``appendfsync always`` everything, with ``everysec`` all but the last second before a crash, without ``appendonly``
nothing. A single server loses the newest writes first, so a mark before the rows that it tells of; a node of a cluster
may lose rows whose mark another node holds, so there only ``always`` keeps marks honest.

Work is tried once more on a new connection where the first was lost; where that fails too, or the server does not
answer within the address's ``timeout``, Unavailable is raised. A write that raised may have stored some of its rows,
and writing them again changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiffin.errors import MissingDependency
from tiffin.online.redis_address import parse

if TYPE_CHECKING:
    from tiffin.online.redis_store import RedisStore


def open_store(uri: str) -> RedisStore:
    """The store that a URI names (see ``redis_address.py``); it connects when it is first used."""
    address = parse(uri)
    try:
        from tiffin.online.redis_store import RedisStore
    except ImportError as error:
        if error.name not in {"redis", "hiredis"}:
            raise
        raise MissingDependency(error.name, extra="redis", purpose=f"The online store at {address}") from error
    return RedisStore(address)
