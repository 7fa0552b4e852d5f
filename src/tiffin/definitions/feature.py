"""Feature: a named, typed column of a feature table."""

from __future__ import annotations

from typing import Any

import msgspec

from tiffin.definitions import base
from tiffin.refs import check_name
from tiffin.types import ValueType


class Feature(base.Value):
    """One feature. ``dtype`` is a :class:`ValueType`, its name or its number."""

    name: str
    dtype: ValueType = msgspec.field(name="valueType")
    labels: dict[str, str] = {}
    description: str = ""

    def _coerce(self, name: str, value: Any) -> Any:
        if name == "dtype":
            return ValueType.parse(value, field="dtype")
        if name == "labels":
            return base.mapping(value, field="labels")
        return base.text(value, field=name)

    def check(self) -> None:
        """Raise InvalidDefinition where a rule is broken."""
        self.recoerce()
        check_name(self.name, kind="feature")
        base.check_labels(self.labels, kind=f"Feature {self.name!r}")
