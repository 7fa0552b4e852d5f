"""What every definition shares: plain values, equal by value, with a record of the registry beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.errors import InvalidDefinition


class Meta(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the registry knows of a definition beside its content. Instants are UTC microseconds."""

    revision: int = 0
    created: int = 0
    updated: int = 0
    hash: str = ""


class Value(msgspec.Struct, eq=False, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """A plain value: attributes may be reassigned, equal by value, not hashable."""

    def _canonical(self) -> object:
        """What equality compares; subclasses drop what does not count (order of features, say)."""
        return tuple(getattr(self, name) for name in self.__struct_fields__)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._canonical() == other._canonical()

    __hash__ = None  # type: ignore[assignment]  # mutable values must not be keys

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__struct_fields__ and not isinstance(getattr(type(self), name, None), property):
            raise InvalidDefinition(
                f"{type(self).__name__} has no attribute {name!r}.",
                field=name,
                hint=f"Its attributes are: {', '.join(self.__struct_fields__)}.",
            )
        super().__setattr__(name, self._coerce(name, value))

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            super().__setattr__(name, self._coerce(name, getattr(self, name)))

    def _coerce(self, name: str, value: Any) -> Any:
        """Turn what callers may give for an attribute into its one type; refuse what has no reading."""
        return value


def text(value: object, *, field: str) -> str:
    """A text; None counts as empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidDefinition(f"{field} must be a text, got {value!r}.", field=field)
    return value


def mapping(value: object, *, field: str) -> dict[str, str]:
    """A copy of a mapping of texts to texts; None counts as empty."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidDefinition(f"{field} must be a mapping of texts, got {value!r}.", field=field)
    for key, item in value.items():
        if not isinstance(key, str) or not isinstance(item, str):
            raise InvalidDefinition(f"{field} must map texts to texts, got {key!r}: {item!r}.", field=field)
    return dict(value)


def check_labels(labels: Mapping[str, str], *, kind: str) -> None:
    """Labels have keys that are not empty."""
    if "" in labels:
        raise InvalidDefinition(f"{kind} cannot have labels with an empty key.", field="labels")
