"""The network as an ONNX graph: from raw features to a probability, with all that lies between inside.

``features`` (float64, rows x features, NaN where there is no value) -> imputed -> scaled -> layers -> ``probability``
(float32, one a row). Everything inside is float64: the scores of a row then do not depend, to the last bit of
float32, on how many rows are asked together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tiffin._version import __version__
from tiffin.errors import MissingDependency

if TYPE_CHECKING:
    from tiffin.pipeline.card import ModelCard

INPUT: Final = "features"
OUTPUT: Final = "probability"
#: Under which name the card lies among the file's properties.
CARD: Final = "tiffin.card"
_OPSET: Final = 21
_IR: Final = 10


class Layer(NamedTuple):
    """Weights of shape (inputs, outputs), and biases of shape (outputs,)."""

    weights: np.ndarray
    biases: np.ndarray


class Scaler(NamedTuple):
    """What is subtracted from each feature, and what the rest is divided by."""

    mean: np.ndarray
    scale: np.ndarray


def encode(card: ModelCard, scaler: Scaler, layers: Sequence[Layer]) -> bytes:
    """The file of a model: ReLU between the layers, a sigmoid after the last, whose width is 1."""
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency("onnx", extra="pipeline", purpose="Saving a model") from error
    helper, double = onnx.helper, onnx.TensorProto.DOUBLE
    constants: dict[str, np.ndarray] = {
        "imputed": np.asarray(card.imputed),
        "mean": scaler.mean,
        "scale": scaler.scale,
        "row": np.array([-1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("IsNaN", [INPUT], ["missing"]),
        helper.make_node("Where", ["missing", "imputed", INPUT], ["complete"]),
        helper.make_node("Sub", ["complete", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
    ]
    value = "scaled"
    for number, layer in enumerate(layers):
        constants |= {f"weights{number}": layer.weights, f"biases{number}": layer.biases}
        nodes.append(helper.make_node("Gemm", [value, f"weights{number}", f"biases{number}"], [f"sum{number}"]))
        value = f"sum{number}"
        if number < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [value], [f"active{number}"]))
            value = f"active{number}"
    nodes += [
        helper.make_node("Sigmoid", [value], ["score"]),
        helper.make_node("Reshape", ["score", "row"], ["flat"]),
        helper.make_node("Cast", ["flat"], [OUTPUT], to=onnx.TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "tiffin",
        [helper.make_tensor_value_info(INPUT, double, ["rows", len(card.features)])],
        [helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["rows"])],
        [onnx.numpy_helper.from_array(_exact(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
        producer_name="tiffin",
        producer_version=__version__,
    )
    helper.set_model_props(model, {CARD: card.encode()})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def with_card(content: bytes, card: ModelCard) -> bytes:
    """The same network under another card, such as one with another threshold."""
    import onnx

    model = onnx.load_from_string(content)
    helper = onnx.helper
    helper.set_model_props(model, {CARD: card.encode()})
    return bytes(model.SerializeToString(deterministic=True))


def _exact(array: np.ndarray) -> np.ndarray:
    return array if array.dtype == np.int64 else np.ascontiguousarray(array, dtype=np.float64)
