"""Schemas of Avro as trees, read from their JSON (Avro specification, "Schema Declaration")."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tiffin.errors import InvalidDefinition, Unsupported

PRIMITIVES: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})

#: Logical types that are read as what they mean; others as the type that they stand on, as the specification wants.
_LOGICAL: Final[Mapping[str, frozenset[str]]] = {
    "int": frozenset({"date"}),
    "long": frozenset(
        {f"{place}timestamp-{unit}" for place in ("", "local-") for unit in ("millis", "micros", "nanos")}
    ),
    "bytes": frozenset({"decimal"}),
    "fixed": frozenset({"decimal"}),
}
#: Digits that a decimal of Polars holds.
_DIGITS: Final = 38


class Logical(msgspec.Struct, frozen=True):
    """What a value means beyond its type. ``precision`` and ``scale`` are those of a decimal."""

    name: str
    precision: int = 0
    scale: int = 0


class Scalar(msgspec.Struct, frozen=True):
    """A primitive type."""

    kind: str
    logical: Logical | None = None


class Fixed(msgspec.Struct, frozen=True):
    """So many bytes."""

    name: str
    size: int
    aliases: frozenset[str] = frozenset()
    logical: Logical | None = None


class Enum(msgspec.Struct, frozen=True):
    """One of some symbols, stored by its number. ``default`` stands for symbols that are not among them."""

    name: str
    symbols: tuple[str, ...]
    aliases: frozenset[str] = frozenset()
    default: str | None = None


class Array(msgspec.Struct, frozen=True):
    """Items of one type."""

    items: Node


class Map(msgspec.Struct, frozen=True):
    """Values of one type under texts."""

    values: Node


class Field(msgspec.Struct, frozen=True):
    """One field of a record; ``default`` is JSON, UNSET without one."""

    name: str
    node: Node
    aliases: frozenset[str] = frozenset()
    default: Any = msgspec.UNSET


class Record(msgspec.Struct, frozen=True):
    """Fields in their order."""

    name: str
    fields: tuple[Field, ...]
    aliases: frozenset[str] = frozenset()


class Union(msgspec.Struct, frozen=True):
    """One of several types, stored by its number."""

    branches: tuple[Node, ...]


Node = Scalar | Fixed | Enum | Array | Map | Record | Union


def parse(text: str, *, what: str = "The Avro schema") -> Record:
    """The record that a schema's JSON describes; InvalidDefinition where it is none, Unsupported where it recurs."""
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise InvalidDefinition(f"{what} is not JSON: {error}.", field="schema_json") from None
    try:
        node = _Parser(what).node(schema, "")
    except RecursionError:
        raise InvalidDefinition(f"{what} has too many levels.", field="schema_json") from None
    if not isinstance(node, Record):
        raise InvalidDefinition(f"{what} must be a record.", field="schema_json")
    return node


def words(node: Node) -> str:
    """A type in a few words."""
    match node:
        case Scalar(kind, logical):
            return logical.name if logical else kind
        case Union(branches):
            return f"[{', '.join(map(words, branches))}]"
        case Array(items):
            return f"array of {words(items)}"
        case Map(values):
            return f"map of {words(values)}"
        case _:
            return f"{type(node).__name__.lower()} {node.name}"


class _Parser:
    """Reads types, and remembers those that have names."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._named: dict[str, Node | None] = {}  # None while it is read

    def node(self, schema: Any, space: str) -> Node:
        if isinstance(schema, str):
            return self._by_name(schema, space)
        if isinstance(schema, list):
            branches = tuple(self.node(branch, space) for branch in schema)
            if not branches or any(isinstance(branch, Union) for branch in branches):
                raise self._fault("has a union that is empty, or in a union")
            return Union(branches)
        if not isinstance(schema, dict) or "type" not in schema:
            raise self._fault(f"has {json.dumps(schema)[:80]} where a type should be")
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.node(kind, space)  # {"type": {...}} is what it wraps
        match kind:
            case "array":
                return Array(self.node(self._member(schema, "items"), space))
            case "map":
                return Map(self.node(self._member(schema, "values"), space))
            case "record" | "error" | "enum" | "fixed":
                return self._definition(kind, schema, space)
            case _ if kind in PRIMITIVES:
                return Scalar(kind, self._logical(kind, schema, 0))
            case _:
                return self._by_name(kind, space)

    def _by_name(self, name: str, space: str) -> Node:
        if name in PRIMITIVES:
            return Scalar(name)
        full = name if "." in name or not space else f"{space}.{name}"
        if full not in self._named and name in self._named:
            full = name
        if full not in self._named:
            raise self._fault(f"uses the type {name!r}, which it does not define before")
        found = self._named[full]
        if found is None:
            raise Unsupported(
                f"{self._what} has the record {full!r}, which contains itself.",
                field="schema_json",
                hint="A row has columns of a known number: leave that field out.",
            )
        return found

    def _definition(self, kind: str, schema: dict[str, Any], space: str) -> Node:
        name = self._member(schema, "name")
        space = schema.get("namespace", space) if "." not in name else name.rpartition(".")[0]
        full = name if "." in name or not space else f"{space}.{name}"
        if full in self._named:
            raise self._fault(f"defines {full!r} twice")
        self._named[full] = None
        aliases = frozenset(alias.rpartition(".")[2] for alias in schema.get("aliases", ()))
        node: Node
        if kind == "enum":
            node = Enum(full, tuple(self._member(schema, "symbols")), aliases, schema.get("default"))
        elif kind == "fixed":
            size = self._member(schema, "size")
            if type(size) is not int or size < 0:
                raise self._fault(f"gives {full!r} the size {size!r}")
            node = Fixed(full, size, aliases, self._logical("fixed", schema, size))
        else:
            node = Record(full, tuple(self._field(field, space) for field in self._member(schema, "fields")), aliases)
            twice = len({field.name for field in node.fields}) < len(node.fields)
            if twice:
                raise self._fault(f"has a field of {full!r} twice")
        self._named[full] = node
        return node

    def _field(self, schema: Any, space: str) -> Field:
        if not isinstance(schema, dict):
            raise self._fault(f"has {json.dumps(schema)[:80]} where a field should be")
        node = self.node(self._member(schema, "type"), space)
        aliases = frozenset(schema.get("aliases", ()))
        return Field(self._member(schema, "name"), node, aliases, schema.get("default", msgspec.UNSET))

    def _logical(self, kind: str, schema: dict[str, Any], size: int) -> Logical | None:
        name = schema.get("logicalType")
        if name not in _LOGICAL.get(kind, ()):
            return None
        if name != "decimal":
            return Logical(str(name))
        precision, scale = schema.get("precision"), schema.get("scale", 0)
        if type(precision) is not int or type(scale) is not int or not 0 <= scale <= precision <= _DIGITS:
            raise Unsupported(
                f"{self._what} has a decimal of precision {precision!r} and scale {scale!r}.",
                field="schema_json",
                hint=f"Decimals have a precision of at most {_DIGITS} digits, and a scale up to that.",
            )
        return Logical("decimal", precision, scale)

    def _member(self, schema: dict[str, Any], name: str) -> Any:
        if name not in schema:
            raise self._fault(f"has {json.dumps(schema)[:80]}, which lacks {name!r}")
        found = schema[name]
        wanted = {"symbols": list, "fields": list, "name": str}.get(name, object)
        if not isinstance(found, wanted):
            raise self._fault(f"has {name!r} of {json.dumps(found)[:80]}")
        return found

    def _fault(self, words: str) -> InvalidDefinition:
        return InvalidDefinition(f"{self._what} {words}.", field="schema_json")
