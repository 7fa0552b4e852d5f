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

    def __ne__(self, other: object) -> bool:
        # the structs' own __ne__ compares identities, and would win over the opposite of __eq__
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # mutable values must not be keys

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__struct_fields__:
            found = "cannot be set" if hasattr(type(self), name) else "does not exist"
            raise InvalidDefinition(
                f"The attribute {name!r} of {type(self).__name__} {found}.",
                field=name,
                hint=f"What can be set: {', '.join(self.__struct_fields__)}.",
            )
        super().__setattr__(name, self._coerce(name, value))

    def __post_init__(self) -> None:
        self.recoerce()

    def recoerce(self) -> None:
        """Read every attribute again: lists and mappings may have been changed in place since they were given."""
        for name in self.__struct_fields__:
            super().__setattr__(name, self._coerce(name, getattr(self, name)))

    def _coerce(self, name: str, value: Any) -> Any:
        """Turn what callers may give for an attribute into its one type; refuse what has no reading."""
        return value


def text(value: object, *, field: str) -> str:
    """A text that every store can hold; None counts as empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidDefinition(f"{field} must be a text, got {value!r}.", field=field)
    if "\x00" in value or not _is_unicode(value):
        raise InvalidDefinition(f"{field} has characters that cannot be stored: {value!r}.", field=field)
    return value


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def mapping(value: object, *, field: str) -> dict[str, str]:
    """A copy of a mapping of texts to texts; None counts as empty."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidDefinition(f"{field} must be a mapping of texts, got {value!r}.", field=field)
    for key, item in value.items():
        if not isinstance(key, str) or not isinstance(item, str):
            raise InvalidDefinition(f"{field} must map texts to texts, got {key!r}: {item!r}.", field=field)
        text(key, field=field)
        text(item, field=field)
    return dict(value)


def registered(value: object) -> Meta | None:
    """What a registry knows of a definition, None before it was registered."""
    if value is not None and not isinstance(value, Meta):
        raise InvalidDefinition(f"meta must be a Meta or None, got {value!r}.", field="meta")
    return value


def check_labels(labels: Mapping[str, str], *, kind: str) -> None:
    """Labels have keys that are not empty."""
    if "" in labels:
        raise InvalidDefinition(f"{kind} cannot have labels with an empty key.", field="labels")
