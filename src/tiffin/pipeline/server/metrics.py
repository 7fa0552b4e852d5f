"""ModelMetrics: what a model server counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np

from tiffin.pipeline.card import ModelCard
from tiffin.pipeline.server.predictor import Predictions
from tiffin.serving.metrics.base import LATENCY_BOUNDS
from tiffin.serving.metrics.service import ServiceMetrics
from tiffin.serving.metrics.tally import Family

_PREFIX: Final = "tiffin_model"
_SCORES: Final = tuple(n / 20 for n in range(1, 20))

_FAMILIES: Final = (
    Family(
        "tiffin_model_request_latency_seconds",
        "histogram",
        "Seconds a request took.",
        ("method", "status_code"),
        LATENCY_BOUNDS,
    ),
    Family("tiffin_model_predictions_total", "counter", "Instances that were predicted.", ("model", "class")),
    Family("tiffin_model_score", "histogram", "Scores, by model.", ("model",), _SCORES),
    Family("tiffin_model_features_total", "counter", "Features of instances, by status.", ("feature", "status")),
    Family("tiffin_model_imputed_total", "counter", "Features whose value was guessed.", ("feature",)),
    Family("tiffin_model_refused_total", "counter", "Requests that got no prediction.", ("code",)),
    Family("tiffin_model_served_log_total", "counter", "Predictions for the log of what was served.", ("outcome",)),
)


class ModelMetrics(ServiceMetrics):
    """The counts of one worker."""

    def __init__(self, card: ModelCard, folder: Path | None = None) -> None:
        super().__init__(_PREFIX, _FAMILIES, folder)
        self._card = card
        self._latency = self._tally("request_latency_seconds")
        self._scores = self._tally("score")
        self._predictions = self._tally("predictions_total")
        self._features = self._tally("features_total")
        self._imputed = self._tally("imputed_total")

    def request(self, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered; ``method`` is the name of a route."""
        with self._lock:
            self._latency.observe((method, str(status)), seconds)

    def predicted(self, found: Predictions) -> None:
        """Count the predictions of a request."""
        features, model = self._card.features, self._card.name
        rows = len(found.classes)
        if not rows:
            return
        observed = np.bincount(np.searchsorted(_SCORES, found.scores), minlength=len(_SCORES) + 1).tolist()
        missing = np.isnan(found.values).sum(axis=0).tolist()
        with self._lock:
            for word in set(found.classes):
                self._predictions.add((model, word), found.classes.count(word))
            self._scores.join((model,), [*observed, float(found.scores.sum(dtype=np.float64))])
            for name, column, guessed in zip(features, found.statuses, missing, strict=True):
                first = column[0]
                if column.count(first) == rows:  # as most often
                    self._features.add((name, str(first)), rows)
                else:
                    for status, times in Counter(column).items():
                        self._features.add((name, str(status)), times)
                if guessed:
                    self._imputed.add((name,), guessed)

    def refused(self, code: str) -> None:
        """Count a request that got no prediction, by the code of its error."""
        self._count("refused_total", code)

    def logged(self, outcome: str, times: int) -> None:
        """Count lines of the log of what was served: ``written`` or ``dropped``."""
        with self._lock:
            self._tally("served_log_total").add((outcome,), times)
