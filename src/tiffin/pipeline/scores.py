"""Scores: how well probabilities tell two classes apart."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from tiffin.errors import InvalidArgument
from tiffin.pipeline.fit import log_loss

#: Points of a curve that is shown or handed on, at most.
SHOWN: Final = 200


class Judged(NamedTuple):
    """What a model is worth at one threshold.

    ``metrics`` are fractions, but for ``log-loss``; ``confusion[true][predicted]`` counts rows; ``roc`` is (false
    positive rate, true positive rate, threshold) from no row to all. Where the rows are of one class alone there is
    neither a curve nor the area under it.
    """

    metrics: dict[str, float]
    confusion: list[list[int]]
    roc: list[tuple[float, float, float]]


def judge(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Judged:
    """Compare labels of 0 and 1 with scores (float32); a score at the threshold is a 1."""
    predicted = scores >= np.float32(threshold)
    truth = labels == 1
    counts = [[int((truth == t)[predicted == p].sum()) for p in (False, True)] for t in (False, True)]
    (true_negative, false_positive), (false_negative, true_positive) = counts
    precision = _share(true_positive, true_positive + false_positive)
    recall = _share(true_positive, true_positive + false_negative)
    metrics = {
        "accuracy-score": _share(true_positive + true_negative, len(labels)),
        "precision": precision,
        "recall": recall,
        "f1": _share(2 * precision * recall, precision + recall),
        "log-loss": log_loss(labels, scores.astype(np.float64)),
        "share-of-ones": float(truth.mean()),
    }
    curve = _roc(truth, scores)
    if curve:
        rates = np.array(curve)
        metrics["auc"] = float(np.trapezoid(rates[:, 1], rates[:, 0]))
    return Judged(metrics, counts, curve)


def _roc(truth: np.ndarray, scores: np.ndarray) -> list[tuple[float, float, float]]:
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not (positives and negatives):
        return []
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], truth[order]
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # rows of one score fall together
    tpr = np.cumsum(hits)[ends] / positives
    fpr = np.cumsum(~hits)[ends] / negatives
    # The threshold that no score reaches: above the greatest, and finite, since infinity is no number of JSON.
    none = float(np.nextafter(ranked[0], np.float32(2), dtype=np.float32))
    rows = zip(fpr.tolist(), tpr.tolist(), ranked[ends].astype(float).tolist(), strict=True)
    return [(0.0, 0.0, none), *rows]


def thinned(points: list[tuple[float, float, float]], most: int = SHOWN) -> list[tuple[float, float, float]]:
    """At most so many points of a curve, the first and the last among them."""
    if len(points) <= most:
        return points
    chosen = np.unique(np.linspace(0, len(points) - 1, most).round().astype(int))
    return [points[place] for place in chosen]


class Gate(NamedTuple):
    """A bound that a metric must keep."""

    metric: str
    at_least: bool
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {self.bound:g}"

    def missed(self, metrics: dict[str, float]) -> str:
        """Why a model does not pass, or nothing."""
        value = metrics.get(self.metric)
        if value is None:
            return f"{self.metric} is not known of these rows, and {self} is asked"
        kept = value >= self.bound if self.at_least else value <= self.bound
        return "" if kept else f"{self.metric} is {value:.4f}, and {self} is asked"


def read_gates(text: str) -> list[Gate]:
    """Gates from ``auc>=0.7, log-loss<=0.6``; InvalidArgument for anything else."""
    gates = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        sign = ">=" if ">=" in part else "<="
        metric, found, bound = (each.strip() for each in part.partition(sign))
        try:
            limit = float(bound)
        except ValueError:
            limit = math.nan
        if not found or metric not in METRICS or math.isnan(limit):
            raise InvalidArgument(
                f"{part!r} is no gate.",
                field="gate",
                hint=f"Write auc>=0.7, with >= or <=, on one of: {', '.join(METRICS)}.",
            )
        gates.append(Gate(metric, sign == ">=", limit))
    return gates


#: The names of all metrics.
METRICS: Final = ("accuracy-score", "precision", "recall", "f1", "auc", "log-loss", "share-of-ones")


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
