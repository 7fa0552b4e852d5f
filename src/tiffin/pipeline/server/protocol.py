"""The protocols of KServe: what is asked in versions 1 and 2, and how predictions are told in each.

Version 1: ``{"instances": [...]}`` -> ``{"predictions": [...]}``. Version 2: named tensors, one row an instance.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np

from tiffin.errors import InvalidArgument
from tiffin.pipeline.card import ModelCard
from tiffin.pipeline.server.predictor import Instance, Predictions
from tiffin.types import ValueType

#: The name of a tensor that holds all features, in the model's order.
FEATURES: Final = "features"

_INTEGERS: Final = {"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"}
_FLOATS: Final = {"FP16", "FP32", "FP64"}
_DATATYPES: Final = {
    ValueType.INT32: "INT32",
    ValueType.INT64: "INT64",
    ValueType.DOUBLE: "FP64",
    ValueType.FLOAT: "FP32",
    ValueType.BOOL: "BOOL",
}


class Asked(msgspec.Struct):
    """A request of version 1."""

    instances: list[dict[str, Any] | list[Any]]


class Tensor(msgspec.Struct):
    """A tensor of version 2, its data row by row, nested or flat."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


class Inference(msgspec.Struct):
    """A request of version 2."""

    inputs: list[Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[dict[str, Any]] = []


_read_asked: Final = msgspec.json.Decoder(Asked)
_read_inference: Final = msgspec.json.Decoder(Inference)


def read_v1(body: bytes) -> list[Instance]:
    """The instances of a request of version 1; InvalidArgument for another body."""
    return list(_decoded(_read_asked.decode, body, '{"instances": [{"driver_id": 1001}]}').instances)


def read_v2(body: bytes, card: ModelCard) -> tuple[str, list[Instance]]:
    """The id and the instances of a request of version 2; InvalidArgument for another body."""
    example = '{"inputs": [{"name": "driver_id", "shape": [1], "datatype": "INT64", "data": [1001]}]}'
    asked = _decoded(_read_inference.decode, body, example)
    if not asked.inputs:
        raise InvalidArgument("The request has no inputs.", field="inputs", hint=f"Send {example}.")
    columns = {tensor.name: _rows(tensor) for tensor in asked.inputs}
    if len(columns) < len(asked.inputs):
        raise InvalidArgument("Two inputs have one name.", field="inputs", hint="Send each once.")
    lengths = {name: len(rows) for name, rows in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidArgument(
            f"The inputs have different numbers of rows: {lengths}.", field="inputs", hint="Send one row an instance."
        )
    if set(columns) == {FEATURES} and FEATURES not in card.entities:
        return asked.id, [row if isinstance(row, list) else [row] for row in columns[FEATURES]]
    names = list(columns)
    return asked.id, [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def tell_v1(card: ModelCard, found: Predictions) -> bytes:
    """The answer of version 1: a class, a probability and the status of every feature for each instance."""
    features = card.features
    statuses = [dict(zip(features, row, strict=True)) for row in zip(*found.statuses, strict=True)]
    rows = zip(found.classes, found.scores.tolist(), statuses, found.imputed(features), strict=True)
    predictions = [
        {"class": word, "probability": score, "statuses": known, "imputed": imputed}
        for word, score, known, imputed in rows
    ]
    return msgspec.json.encode({"predictions": predictions, "model": card.name, "threshold": card.threshold})


def tell_v2(card: ModelCard, version: str, identity: str, found: Predictions) -> bytes:
    """The answer of version 2: tensors of probabilities, classes, and statuses by instance and feature."""
    rows, width = len(found.classes), len(card.features)
    outputs = [
        {"name": "probability", "datatype": "FP32", "shape": [rows], "data": found.scores.tolist()},
        {"name": "class", "datatype": "BYTES", "shape": [rows], "data": found.classes},
        {
            "name": "statuses",
            "datatype": "BYTES",
            "shape": [rows, width],
            "data": list(chain.from_iterable(zip(*found.statuses, strict=True))),
        },
    ]
    answer = {"model_name": card.name, "model_version": version, "id": identity, "outputs": outputs}
    return msgspec.json.encode(answer)


def describe_v2(card: ModelCard, version: str) -> bytes:
    """What version 2 tells of a model: its inputs, which are the keys, and its outputs."""
    inputs = [
        {"name": name, "datatype": _DATATYPES.get(ValueType[kind], "BYTES"), "shape": [-1]}
        for name, kind in card.entities.items()
    ]
    outputs = [
        {"name": "probability", "datatype": "FP32", "shape": [-1]},
        {"name": "class", "datatype": "BYTES", "shape": [-1]},
        {"name": "statuses", "datatype": "BYTES", "shape": [-1, len(card.features)]},
    ]
    about = {"name": card.name, "versions": [version], "platform": "onnx", "inputs": inputs, "outputs": outputs}
    return msgspec.json.encode(about)


def _decoded(decode: Callable[[bytes], Any], body: bytes, example: str) -> Any:
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(
            f"The body is not what is asked for: {error}.", field="body", hint=f"Send {example}."
        ) from error


def _rows(tensor: Tensor) -> list[Any]:
    """The rows of a tensor: single values for one dimension, or for a second of length 1, else lists of them."""
    if tensor.datatype not in {*_INTEGERS, *_FLOATS, "BOOL", "BYTES"}:
        raise InvalidArgument(
            f"The input {tensor.name!r} is of datatype {tensor.datatype!r}.",
            field="inputs",
            hint="Use INT64, FP64, BOOL or BYTES.",
        )
    shape = tensor.shape
    if not 1 <= len(shape) <= 2 or min(shape) < 0 or shape[1:] == [0]:
        raise InvalidArgument(
            f"The input {tensor.name!r} has the shape {shape}.", field="inputs", hint="Use [rows] or [rows, columns]."
        )
    flat = _flat(tensor.data)
    if len(flat) != int(np.prod(shape, dtype=object)):
        raise InvalidArgument(
            f"The input {tensor.name!r} of shape {shape} has {len(flat)} values.", field="inputs", hint="Send them all."
        )
    values = [_value(each, tensor) for each in flat]
    if len(shape) == 1 or (shape[1] == 1 and tensor.name != FEATURES):
        return values
    return [values[place : place + shape[1]] for place in range(0, len(values), shape[1])]


def _flat(data: list[Any]) -> list[Any]:
    return [item for row in data for item in (row if isinstance(row, list) else [row])]


def _value(value: Any, tensor: Tensor) -> Any:
    """A value as its datatype says: integers may come as 1.0, and truth values as 0 and 1."""
    if tensor.datatype in _INTEGERS and isinstance(value, float) and value.is_integer():
        return int(value)
    if tensor.datatype == "BOOL" and value in (0, 1):
        return bool(value)
    return value
