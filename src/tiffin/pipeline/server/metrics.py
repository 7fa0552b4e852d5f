"""ModelMetrics: what a model server counts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tiffin.pipeline.card import ModelCard
from tiffin.pipeline.server.predictor import Predictions, count_statuses
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

    def request(self, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered; ``method`` is the name of a route."""
        with self._lock:
            self._latency.observe((method, str(status)), seconds)

    def predicted(self, found: Predictions) -> None:
        """Count the predictions of a request."""
        card = self._card
        statuses = count_statuses(found, card.features)
        with self._lock:
            for word, score in zip(found.classes, found.scores.tolist(), strict=True):
                self._tally("predictions_total").add((card.name, word))
                self._scores.observe((card.name,), score)
            for labels, times in statuses.items():
                self._tally("features_total").add(labels, times)
            for names in found.imputed(card.features):
                for name in names:
                    self._tally("imputed_total").add((name,))

    def refused(self, code: str) -> None:
        """Count a request that got no prediction, by the code of its error."""
        self._count("refused_total", code)

    def logged(self, outcome: str, times: int) -> None:
        """Count lines of the log of what was served: ``written`` or ``dropped``."""
        with self._lock:
            self._tally("served_log_total").add((outcome,), times)
