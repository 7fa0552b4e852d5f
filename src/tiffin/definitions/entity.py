"""Entity: a key by which features are looked up."""

from __future__ import annotations

from typing import Any

from tiffin.definitions import base
from tiffin.definitions.definition import Definition
from tiffin.errors import InvalidDefinition
from tiffin.refs import check_name
from tiffin.types import ValueType


class Entity(Definition):
    """A key of feature tables, such as a driver.

    ``value_type`` is a scalar :class:`ValueType`, its name or its number; it never changes once applied.
    """

    name: str
    description: str = ""
    value_type: ValueType = ValueType.STRING
    labels: dict[str, str] = {}
    meta: base.Meta | None = None

    def _coerce(self, name: str, value: Any) -> Any:
        if name == "value_type":
            return ValueType.parse(value, field="value_type")
        if name == "labels":
            return base.mapping(value, field="labels")
        return base.registered(value) if name == "meta" else base.text(value, field=name)

    def _canonical(self) -> object:
        return (self.name, self.description, self.value_type, self.labels)

    def check(self) -> None:
        """Raise InvalidDefinition where a rule is broken."""
        self.recoerce()
        check_name(self.name, kind="entity")
        base.check_labels(self.labels, kind=f"Entity {self.name!r}")
        if self.value_type.is_list or self.value_type in {ValueType.FLOAT, ValueType.DOUBLE}:
            raise InvalidDefinition(
                f"Entity {self.name!r} has value type {self.value_type.name}, which cannot be a key.",
                field="value_type",
                hint="Use STRING, INT64, INT32, BYTES, BOOL or UNIX_TIMESTAMP.",
            )
