"""The kinds of definitions, by the name that documents and the registry use."""

from __future__ import annotations

from typing import Final

from tiffin.definitions.definition import Definition
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable
from tiffin.errors import InvalidDefinition, closest

KINDS: Final[dict[str, type[Definition]]] = {kind.__name__: kind for kind in (Entity, FeatureTable, FeatureService)}


def kind_named(name: object) -> type[Definition]:
    """The class of a kind."""
    if name not in KINDS:
        raise InvalidDefinition(f"{name!r} is not a kind of definition.", field="kind", hint=closest(str(name), KINDS))
    return KINDS[str(name)]
