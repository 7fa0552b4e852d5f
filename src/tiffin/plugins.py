"""Plugins: from the name or URI of a backend to the function that opens it.

First-party backends stand in a table; other names come from entry points, so that a package of a stranger becomes a
backend by being installed. Nothing of a backend is imported before it is asked for.

What an entry must be:

=========  ======================================================  ==================
floor      named by                                                 callable
=========  ======================================================  ==================
online     the scheme of a URI, ``lmdb:///path``                    ``(uri) -> OnlineStore``
registry   the scheme of a URL, ``sqlite:////path``                 ``(url) -> RegistryStore``
offline    a name, ``polars``                                       ``(config) -> OfflineEngine``
stream     the kind of a stream source, ``kafka``                   ``(source, ...) -> StreamSource``
launcher   a name, ``local``                                        ``(config) -> Launcher``
=========  ======================================================  ==================

A stream's callable also gets ``group``, ``options``, ``on_assign`` and ``on_revoke`` (see ``tiffin.stream.kafka``).
Where the option ``registry_auto_migrate`` is off, the registry's callable gets ``migrate=False`` besides.
"""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal

from tiffin.errors import InvalidConfig, closest

Floor = Literal["offline", "online", "registry", "stream", "launcher"]

FIRST_PARTY: Final[dict[Floor, dict[str, str]]] = {
    "offline": {
        "memory": "tiffin.offline.memory:open_engine",
        "polars": "tiffin.offline.polars:open_engine",
    },
    "online": {
        "lmdb": "tiffin.online.lmdb:open_store",
        "memory": "tiffin.online.memory:open_store",
        "redis": "tiffin.online.redis:open_store",
        "rediss": "tiffin.online.redis:open_store",
    },
    "registry": {
        "memory": "tiffin.registry.memory:open_registry",
        "postgres": "tiffin.registry.sql:open_registry",
        "postgresql": "tiffin.registry.sql:open_registry",
        "sqlite": "tiffin.registry.sql:open_registry",
    },
    "stream": {
        "kafka": "tiffin.stream.kafka:open_source",
    },
    "launcher": {},
}


def resolve(floor: Floor, name: str) -> Any:
    """The callable that opens a backend; ``name`` is a name, or a URI whose scheme is one.

    A scheme may name its driver after a plus, which does not count: ``postgresql+psycopg://``. An unknown name raises
    InvalidConfig that lists what exists.
    """
    key = re.split(r":|\+", name.strip(), maxsplit=1)[0].lower()
    target = FIRST_PARTY[floor].get(key)
    if target is not None:
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)
    installed = _installed(floor)
    if key not in installed:
        raise InvalidConfig(
            f"There is no {floor} backend named {key!r}.",
            field=f"{floor}_store" if floor in {"offline", "online"} else floor,
            hint=closest(key, {*FIRST_PARTY[floor], *installed}),
        )
    return installed[key].load()


def known(floor: Floor) -> list[str]:
    """The names of all backends of a floor, installed ones included."""
    return sorted({*FIRST_PARTY[floor], *_installed(floor)})


def _installed(floor: Floor) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"tiffin.{floor}")}
