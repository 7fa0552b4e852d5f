"""Model: a saved network with its card, asked with rows of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from tiffin.errors import CorruptData, InvalidData, MissingDependency
from tiffin.pipeline import files
from tiffin.pipeline.card import ModelCard
from tiffin.pipeline.network import CARD, INPUT, OUTPUT

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

#: The file that a folder of a model holds.
MODEL_FILE: Final = "model.onnx"


class Model:
    """A network that runs in this process, one thread a call, and what it knows of itself."""

    def __init__(self, content: bytes, *, place: str = "memory") -> None:
        self.content = content
        self._session = _session(content, place)
        properties = self._session.get_modelmeta().custom_metadata_map
        if CARD not in properties:
            raise CorruptData(
                f"The file at {place!r} is an ONNX model, but not one of this pipeline: it has no card.",
                hint="Name a model that the train step has written.",
            )
        self.card = ModelCard.decode(properties[CARD], place=place)

    @staticmethod
    def load(uri: str) -> Model:
        """The model in a folder or file, on a disk or bucket; NotFound, CorruptData or StorageError."""
        place = uri if uri.endswith(".onnx") else files.join(uri, MODEL_FILE)
        return Model(files.read(place), place=place)

    def save(self, folder: str) -> str:
        """Write the model's file into a folder; where it is."""
        return files.write(files.join(folder, MODEL_FILE), self.content)

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """The probability of the second class for each row, float32.

        ``rows`` is float64 of shape (rows, features), in the order of the card, NaN where there is no value; what
        then is taken stands in the card. InvalidData for another shape, and for infinite values.
        """
        wanted = len(self.card.features)
        if rows.ndim != 2 or rows.shape[1] != wanted:
            raise InvalidData(
                f"The model {self.card.name!r} takes rows of {wanted} features, got an array of shape {rows.shape}.",
                hint=f"In this order: {', '.join(self.card.features)}.",
            )
        if np.isinf(rows).any():
            raise InvalidData(
                "A feature is infinite: no score of such a row means anything.",
                field=self.card.features[int(np.isinf(rows).any(axis=0).argmax())],
                hint="Leave it out, so that it counts as missing.",
            )
        if not len(rows):
            return np.empty(0, dtype=np.float32)
        (scores,) = self._session.run([OUTPUT], {INPUT: np.ascontiguousarray(rows, dtype=np.float64)})
        scores = np.asarray(scores, dtype=np.float32)
        if np.isnan(scores).any():
            row = int(np.isnan(scores).argmax())
            raise InvalidData(
                f"The model {self.card.name!r} has no score for row {row}: its features are too large to count with.",
                field=self.card.features[int(np.abs(np.nan_to_num(rows[row])).argmax())],
                hint="Leave out what is no measurement, so that it counts as missing.",
            )
        return scores

    def classes(self, scores: np.ndarray) -> list[str]:
        """The word for each score: the second from the threshold on."""
        below, above = self.card.classes
        threshold = np.float32(self.card.threshold)
        return [above if score >= threshold else below for score in scores]


def _session(content: bytes, place: str) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency("onnxruntime", extra="pipeline", purpose="Asking a model") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    from onnxruntime.capi import onnxruntime_pybind11_state as faults

    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except (
        faults.Fail,
        faults.InvalidProtobuf,
        faults.InvalidGraph,
        faults.InvalidArgument,
        faults.NotImplemented,
    ) as error:
        raise CorruptData(f"The file at {place!r} is no ONNX model: {error}.", hint="Train it again.") from error
