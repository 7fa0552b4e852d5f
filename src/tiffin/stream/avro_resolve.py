"""Resolution: how messages of a writer's schema are read as the declared one (Avro specification, "Schema Resolution").

Fields are matched by name or alias; those that nobody wants are passed over, and those that were not written have the
declared default. Numbers grow to wider ones, where they are exact. Beyond the specification, times are read in the
unit that they were written in.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tiffin.stream.avro_columns import Column, Fields, ListColumn, Sink
from tiffin.stream.avro_schema import Array, Enum, Field, Fixed, Map, Node, Record, Scalar, Union, words
from tiffin.stream.avro_steps import Blob, Blocks, Choice, Constant, Fail, InOrder, Nothing, Number, Step, Symbol

#: The kinds of a column that a written kind can be read as.
_WIDER: Final = {
    "boolean": {"boolean"},
    "int": {"int", "long", "float", "double"},
    "long": {"long", "float", "double"},
    "float": {"float", "double"},
    "double": {"double"},
    "bytes": {"bytes", "string"},
    "string": {"string", "bytes"},
}
_UNITS: Final = {"millis": 1, "micros": 1_000, "nanos": 1_000_000}
_NULL: Final = Scalar("null")


def resolve(writer: Record, reader: Record, sink: Fields, what: str = "") -> Step:
    """The steps that read a record as the declared one."""
    declared = {name: field for field in reader.fields for name in (field.name, *field.aliases)}
    found: set[str] = set()
    steps = []
    for field in writer.fields:
        target = declared.get(field.name)
        name = f"{what}{field.name}"
        if target is None or target.name in found:
            steps.append(_skip(field.node, name))
        else:
            found.add(target.name)
            steps.append(_step(field.node, target.node, sink.columns[target.name], name))
    for field in reader.fields:
        if field.name not in found:
            steps.append(_absent(field, sink.columns[field.name], f"{what}{field.name}"))
    return InOrder(steps)


def _step(writer: Node, reader: Node, sink: Sink, what: str) -> Step:
    if sink is None:
        return _skip(writer, what)
    if isinstance(writer, Union):
        return Choice([_step(branch, reader, sink, what) for branch in writer.branches], what)
    if writer == _NULL:
        nullable = reader == _NULL or (isinstance(reader, Union) and _NULL in reader.branches)
        return Nothing() if nullable else Fail(f"{what} is null, which the declared schema does not allow")
    if isinstance(reader, Union):
        kinds = [branch for branch in reader.branches if branch != _NULL]
        reader = next((branch for branch in kinds if isinstance(branch, type(writer))), kinds[0]) if kinds else reader
    misfit = Fail(f"{what} is written as {words(writer)}, where the declared schema has {words(reader)}")
    match writer, sink:
        case Record(), Fields() if isinstance(reader, Record):
            return resolve(writer, reader, sink, f"{what}.")
        case Array(items), ListColumn() if isinstance(reader, Array):
            return Blocks(_step(items, reader.items, sink.item, what), sink, what)
        case _, Column():
            return _value(writer, sink, what) or misfit
        case _:
            return misfit


def _value(writer: Node, column: Column, what: str) -> Step | None:
    """The step that reads a single value into a column; None where the column does not take it."""
    match writer:
        case Scalar(kind, logical):
            if column.kind == "enum" or column.size or column.kind not in _WIDER[kind]:
                return None
            factor = 1
            if logical is not None and column.logical is not None and logical != column.logical:
                factor = _finer(logical.name, column.logical.name)
                if not factor:
                    return None
            elif kind in {"bytes", "string"} and logical != column.logical:
                return None  # digits are no text, and bytes no digits
            return Blob(column, what) if kind in {"bytes", "string"} else Number(kind, column, what, factor)
        case Fixed(_, size, _, logical):
            decimals = logical is not None and logical == column.logical
            alike = logical is None and column.logical is None and column.size == size and column.kind == "bytes"
            return Blob(column, what, size) if decimals or alike else None
        case Enum(_, symbols, _, _):
            if column.kind != "enum":
                return None
            places = {symbol: number for number, symbol in enumerate(column.symbols)}
            other = places.get(column.default, -1) if column.default is not None else -1
            return Symbol(column, what, [places.get(symbol, other) for symbol in symbols], symbols)
        case _:
            return None


def _finer(written: str, declared: str) -> int:
    """By what times of one unit become those of another, 0 where they would lose something."""
    (place, _, unit), (other_place, _, other_unit) = written.rpartition("-"), declared.rpartition("-")
    if place != other_place or unit not in _UNITS or other_unit not in _UNITS:
        return 0
    return _UNITS[other_unit] // _UNITS[unit]


def _skip(node: Node, what: str) -> Step:
    match node:
        case Scalar("null"):
            return Nothing()
        case Scalar(kind):
            return Blob(None, what) if kind in {"bytes", "string"} else Number(kind, None, what)
        case Fixed(_, size, _, _):
            return Blob(None, what, size)
        case Enum(_, symbols, _, _):
            return Symbol(None, what, range(len(symbols)), symbols)
        case Record(_, fields, _):
            return InOrder([_skip(field.node, f"{what}.{field.name}") for field in fields])
        case Array(items):
            return Blocks(_skip(items, what), None, what)
        case Map(values):
            return Blocks(InOrder([Blob(None, what), _skip(values, what)]), None, what)
        case Union(branches):
            return Choice([_skip(branch, what) for branch in branches], what)


def _absent(field: Field, sink: Sink, what: str) -> Step:
    """What stands for a field that was not written."""
    if sink is None:
        return Nothing()
    if field.default is msgspec.UNSET:
        return Fail(f"{what} was not written, and the declared schema has no default for it")
    return _default(field.node, field.default, sink)


def _default(node: Node, value: Any, sink: Sink) -> Step:
    if value is None or sink is None:
        return Nothing()
    if isinstance(sink, Fields):
        record = node
        if isinstance(node, Union):
            record = next(branch for branch in node.branches if isinstance(branch, Record))
        assert isinstance(record, Record), "only records have fields"
        return InOrder(
            [
                _default(field.node, value.get(field.name, _or_none(field.default)), sink.columns[field.name])
                for field in record.fields
            ]
        )
    if isinstance(sink, ListColumn):
        return Constant(sink, [_constant(item, sink.item) for item in value])
    return Constant(sink, _constant(value, sink))


def _or_none(default: Any) -> Any:
    return None if default is msgspec.UNSET else default


def _constant(value: Any, column: Column) -> Any:
    """A default as a value of its column: bytes are written as a text with a sign for each byte."""
    return value.encode("latin-1") if column.kind == "bytes" and isinstance(value, str) else value
