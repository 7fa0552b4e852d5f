"""Definition: a value that can be registered, as plain data and as YAML: one spelling for registry, files and wire.

A document has ``kind``, ``spec`` and, once registered, ``meta``. Keys are camelCase; snake_case is read too. Types are
written by name, spans as seconds ("3600s"), instants as RFC 3339. Reading runs no code of users and refuses unknown
keys.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from tiffin import clock
from tiffin.definitions.base import Meta, Value
from tiffin.errors import InvalidArgument, InvalidDefinition
from tiffin.types import ValueType

D = TypeVar("D", bound="Definition")

#: Mappings whose keys are the user's own and are left as they are.
_USER_KEYS: Final = frozenset({"labels", "fieldMapping"})
#: Names of Python's attributes that documents spell otherwise.
_ALIASES: Final = {"dtype": "valueType"}
_INSTANTS: Final = frozenset({"created", "updated"})


class Definition(Value):
    """The root of what can be registered: entities, feature tables and feature services."""

    def check(self) -> None:
        """Raise InvalidDefinition where a rule of names or types is broken."""
        raise InvalidDefinition(f"A {type(self).__name__} cannot be registered.", field="kind")

    def is_valid(self) -> bool:
        """True, or the error of :meth:`check`."""
        self.check()
        return True

    @property
    def created_timestamp(self) -> datetime | None:
        """When it was first registered, in UTC; None before."""
        meta: Meta | None = getattr(self, "meta", None)
        return clock.to_datetime(meta.created) if meta and meta.created else None

    @property
    def last_updated_timestamp(self) -> datetime | None:
        """When its present revision was made, in UTC; None before."""
        meta: Meta | None = getattr(self, "meta", None)
        return clock.to_datetime(meta.updated) if meta and meta.updated else None

    def to_spec(self) -> dict[str, Any]:
        """The content as plain data, without meta."""
        spec: dict[str, Any] = _plain(self)
        spec.pop("meta", None)
        return spec

    def content_hash(self) -> str:
        """A hash of the content, 32 hexadecimal digits; equal definitions have equal ones."""
        text = json.dumps(self._ordered_spec(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _ordered_spec(self) -> dict[str, Any]:
        """The spec with everything sorted whose order does not count; mappings need not be."""
        return self.to_spec()

    def to_document(self) -> dict[str, Any]:
        """The whole document: kind, spec and meta where there is one."""
        document: dict[str, Any] = {"kind": type(self).__name__, "spec": self.to_spec()}
        meta: Meta | None = getattr(self, "meta", None)
        if meta is not None:
            plain = msgspec.to_builtins(meta)
            document["meta"] = {k: clock.to_iso(v) if k in _INSTANTS else v for k, v in plain.items()}
        return document

    def to_yaml(self) -> str:
        """The document as YAML; :meth:`from_yaml` reads it back exactly."""
        from tiffin.definitions.documents import written

        return written(self.to_document())

    @classmethod
    def from_spec(cls: type[D], spec: object, meta: Meta | None = None) -> D:
        """The definition that plain data describes; InvalidDefinition says where it does not."""
        if not isinstance(spec, dict):
            raise InvalidDefinition(f"The spec of {cls.__name__} must be a mapping, got {spec!r}.", field="spec")
        try:
            definition = msgspec.convert(_parsed(spec), cls)
        except msgspec.ValidationError as error:
            raise InvalidDefinition(
                f"The spec of {cls.__name__} cannot be read: {str(error).rstrip('.')}.",
                field="spec",
                hint="What to_yaml() writes of a definition shows the keys and forms.",
            ) from None
        if meta is not None:
            definition.meta = meta
        return definition

    @classmethod
    def from_document(cls: type[D], document: object) -> D:
        """The definition of one document, whose ``kind`` may be left out."""
        if not isinstance(document, dict) or "spec" not in document:
            raise InvalidDefinition("A definition is a mapping with the key 'spec'.", field="spec")
        unknown = sorted(set(document) - {"kind", "spec", "meta"})
        if unknown:
            raise InvalidDefinition(f"A definition has no key {unknown[0]!r}.", hint="Its keys: kind, spec, meta.")
        if document.get("kind", cls.__name__) != cls.__name__:
            raise InvalidDefinition(
                f"The document is of kind {document['kind']!r}, not {cls.__name__!r}.", field="kind"
            )
        return cls.from_spec(document["spec"], _meta(document.get("meta")))

    @classmethod
    def from_yaml(cls: type[D], source: str | Path) -> D:
        """One definition from YAML text, or from a path (a Path, or one line that ends in .yaml or .yml)."""
        from tiffin.definitions.documents import load_documents

        documents = load_documents(read_source(source))
        if len(documents) != 1:
            raise InvalidDefinition(f"Expected one YAML document, found {len(documents)}.", hint="Apply takes several.")
        return cls.from_document(documents[0])


def read_source(source: str | Path) -> str:
    """The text behind a path or the text itself."""
    is_path = isinstance(source, Path) or ("\n" not in source and source.strip().endswith((".yaml", ".yml")))
    if not is_path:
        return str(source)
    try:
        return Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidDefinition(f"The file {str(source)!r} cannot be read: {error.strerror}.", field="path") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Value):
        fields = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        tag = value.__struct_config__.tag
        plain: dict[str, Any] = {str(value.__struct_config__.tag_field): tag} if tag else {}
        for name, key in fields:
            item = getattr(value, name)
            if item not in (None, "", [], {}) and not (name == "to_offline" and item is True):
                plain[key] = _plain(item)
            elif isinstance(item, int | float) and not isinstance(item, bool):
                plain[key] = item
        return plain
    if isinstance(value, ValueType):
        return value.name
    if isinstance(value, timedelta):
        seconds, micros = divmod(value // timedelta(microseconds=1), 1_000_000)
        return f"{seconds}.{micros:06d}".rstrip("0").rstrip(".") + "s"
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, dict) else value


def _parsed(value: Any, key: str = "") -> Any:
    """Plain data with camelCase keys, types as numbers and spans in ISO 8601, as msgspec reads them."""
    if isinstance(value, dict):
        if key in _USER_KEYS:
            return value
        keys = ((_ALIASES.get(str(name), _camel(str(name))), item) for name, item in value.items())
        return {camel: _parsed(item, camel) for camel, item in keys}
    if isinstance(value, list):
        return [_parsed(item) for item in value]
    if key == "valueType":
        return ValueType.parse(value, field="valueType").value
    if key == "maxAge":
        return _span(value)
    return value


def _camel(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(part.capitalize() for part in rest) if head else key


def _span(value: object) -> object:
    seconds = re.fullmatch(r"(\d+)(?:\.(\d{1,6}))?s?", str(value).strip())
    if seconds is None or len(seconds[1]) > 12:  # longer ones are beyond every limit
        return value
    return timedelta(seconds=int(seconds[1]), microseconds=int((seconds[2] or "0").ljust(6, "0")))


def _meta(data: object) -> Meta | None:
    if data is None:
        return None
    if not isinstance(data, dict):
        raise InvalidDefinition(f"meta must be a mapping, got {data!r}.", field="meta")
    try:
        plain = {k: clock.to_micros(v, field=f"meta.{k}") if k in _INSTANTS else v for k, v in data.items()}
        return msgspec.convert(plain, Meta)
    except InvalidArgument as error:
        raise InvalidDefinition(error.message, field=error.field, hint=error.hint) from None
    except msgspec.ValidationError as error:
        raise InvalidDefinition(f"meta cannot be read: {error}.", field="meta") from None
