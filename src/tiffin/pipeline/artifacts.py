"""Artifacts in the forms that Kubeflow Pipelines reads: metrics and views of version 1, and metadata of version 2.

The forms are those of ``mlpipeline-metrics.json`` and ``mlpipeline-ui-metadata.json``, and of the artifacts
``system.Metrics`` and ``system.ClassificationMetrics``.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tiffin.errors import InvalidArgument
from tiffin.pipeline import files

_METRIC_NAME: Final = re.compile(r"[a-zA-Z]([-_a-zA-Z0-9]{0,62}[a-zA-Z0-9])?")


def write_metrics(place: str, metrics: Mapping[str, float]) -> str:
    """``mlpipeline-metrics.json``: fractions between 0 and 1 as percentages, other numbers as they are."""
    rows = []
    for name, value in metrics.items():
        _check_metric(name, value)
        rows.append({"name": name, "numberValue": value, "format": "PERCENTAGE" if 0 <= value <= 1 else "RAW"})
    return _write(place, {"metrics": rows})


def write_ui(place: str, outputs: Sequence[Mapping[str, Any]]) -> str:
    """``mlpipeline-ui-metadata.json``: what the page of a run shows."""
    return _write(place, {"version": 1, "outputs": list(outputs)})


def tensorboard(source: str) -> dict[str, Any]:
    """A view of event files."""
    return {"type": "tensorboard", "source": source}


def confusion_matrix(classes: Sequence[str], counts: Sequence[Sequence[int]], source: str = "") -> dict[str, Any]:
    """A view of a matrix, ``counts[true][predicted]``; in a file at ``source``, or inline."""
    labels = [str(each) for each in classes]
    return {
        "type": "confusion_matrix",
        "format": "csv",
        "schema": [
            {"name": "target", "type": "CATEGORY"},
            {"name": "predicted", "type": "CATEGORY"},
            {"name": "count", "type": "NUMBER"},
        ],
        "source": source or confusion_csv(labels, counts),
        "storage": _storage(source),
        "labels": labels,
    }


def confusion_csv(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Rows of true class, predicted class and count, without a header: one a pair of classes, zeros included."""
    rows = [(str(a), str(b), counts[i][j]) for i, a in enumerate(classes) for j, b in enumerate(classes)]
    return _csv(rows)


def roc(points: Sequence[tuple[float, float, float]], source: str = "") -> dict[str, Any]:
    """A view of a curve of (false positive rate, true positive rate, threshold); in a file, or inline."""
    return {
        "type": "roc",
        "format": "csv",
        "schema": [
            {"name": "fpr", "type": "NUMBER"},
            {"name": "tpr", "type": "NUMBER"},
            {"name": "thresholds", "type": "NUMBER"},
        ],
        "source": source or roc_csv(points),
        "storage": _storage(source),
    }


def roc_csv(points: Sequence[tuple[float, float, float]]) -> str:
    """Rows of false positive rate, true positive rate and threshold, without a header and without infinities."""
    return _csv(points)


def web_page(source: str) -> dict[str, Any]:
    """A view of an HTML page at ``source``."""
    return {"type": "web-app", "storage": _storage(source), "source": source}


def metrics_metadata(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metadata of an artifact of type ``system.Metrics``."""
    for name, value in metrics.items():
        _check_metric(name, value)
    return dict(metrics)


def classification_metadata(
    classes: Sequence[str], counts: Sequence[Sequence[int]], points: Sequence[tuple[float, float, float]]
) -> dict[str, Any]:
    """The metadata of an artifact of type ``system.ClassificationMetrics``; without a curve where there is none."""
    curve = [
        {"confidenceThreshold": threshold, "recall": tpr, "falsePositiveRate": fpr} for fpr, tpr, threshold in points
    ]
    return {
        "confusionMatrix": {
            "annotationSpecs": [{"displayName": str(each)} for each in classes],
            "rows": [{"row": [float(count) for count in row]} for row in counts],
        },
        **({"confidenceMetrics": curve} if curve else {}),
    }


def write_executor_output(place: str, artifacts: Mapping[str, Mapping[str, Any]]) -> str:
    """The file by which a container of version 2 gives its artifacts metadata: ``{name: {"uri", "metadata"}}``."""
    return _write(
        place, {"artifacts": {name: {"artifacts": [{"name": name, **each}]} for name, each in artifacts.items()}}
    )


def _check_metric(name: str, value: float) -> None:
    if not _METRIC_NAME.fullmatch(name):
        raise InvalidArgument(
            f"Kubeflow takes no metric of the name {name!r}.",
            field="name",
            hint="Begin with a letter, end with a letter or digit, with dashes and underscores between; at most 64.",
        )
    if not math.isfinite(value):
        raise InvalidArgument(f"The metric {name!r} is {value}, which is no number of JSON.", field=name)


def _storage(source: str) -> str:
    scheme = source.partition("://")[0] if "://" in source else ""
    return {"gs": "gcs", "s3": "s3"}.get(scheme, "inline" if not source else "local")


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _write(place: str, document: Any) -> str:
    return files.write(place, msgspec.json.format(msgspec.json.encode(document), indent=2))
