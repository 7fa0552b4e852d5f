"""FeatureService: the features that one model reads, under one name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tiffin.definitions import base
from tiffin.definitions.definition import Definition
from tiffin.errors import InvalidDefinition
from tiffin.refs import FeatureRef, check_name


class FeatureService(Definition):
    """A named list of feature references, in the order in which the model takes them."""

    name: str
    features: list[str]
    labels: dict[str, str] = {}
    description: str = ""
    owner: str = ""
    meta: base.Meta | None = None

    def _coerce(self, name: str, value: Any) -> Any:
        if name == "features":
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise InvalidDefinition(f"features must be a list of references, got {value!r}.", field=name)
            return [str(FeatureRef.from_str(item)) if not isinstance(item, FeatureRef) else str(item) for item in value]
        if name == "labels":
            return base.mapping(value, field=name)
        return base.registered(value) if name == "meta" else base.text(value, field=name)

    def _canonical(self) -> object:
        return (self.name, self.features, self.labels, self.description, self.owner)

    @property
    def refs(self) -> list[FeatureRef]:
        """The references, read."""
        return [FeatureRef.from_str(text) for text in self.features]

    def check(self) -> None:
        """Raise InvalidDefinition where a rule is broken."""
        self.recoerce()
        check_name(self.name, kind="feature service")
        base.check_labels(self.labels, kind=f"FeatureService {self.name!r}")
        if not self.features:
            raise InvalidDefinition(f"FeatureService {self.name!r} must name at least one feature.", field="features")
        if len(set(self.features)) != len(self.features):
            raise InvalidDefinition(f"FeatureService {self.name!r} names a feature twice.", field="features")
