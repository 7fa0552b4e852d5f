from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from kfp.dsl import ClassificationMetrics

from tiffin.errors import InvalidArgument
from tiffin.pipeline import artifacts

CLASSES = ["on time", 'late, "very"']
COUNTS = [[7, 0], [2, 3]]
POINTS = [(0.0, 0.0, 0.9), (0.0, 0.5, 0.8), (1.0, 1.0, 0.1)]


def table(view: dict[str, Any]) -> list[dict[str, str]]:
    """The rows of a view as Kubeflow's page reads them: a CSV without a header, columns named by the schema."""
    return list(csv.DictReader(io.StringIO(view["source"]), [column["name"] for column in view["schema"]]))


def test_a_confusion_matrix_has_a_row_for_every_pair_and_its_labels_are_those_of_the_rows() -> None:
    view = artifacts.confusion_matrix(CLASSES, COUNTS)
    rows = table(view)
    assert len(rows) == len(view["labels"]) ** 2
    assert {row["target"] for row in rows} == set(view["labels"]) == set(CLASSES)
    counts = {(row["target"], row["predicted"]): int(row["count"]) for row in rows}
    assert counts == {(a, b): COUNTS[i][j] for i, a in enumerate(CLASSES) for j, b in enumerate(CLASSES)}
    assert artifacts.confusion_matrix([0, 1], COUNTS)["labels"] == ["0", "1"]  # type: ignore[list-item]


def test_a_curve_has_the_columns_that_the_page_looks_for() -> None:
    view = artifacts.roc(POINTS)
    rows = table(view)
    assert [(float(row["fpr"]), float(row["tpr"]), float(row["thresholds"])) for row in rows] == POINTS


@pytest.mark.parametrize(("source", "storage"), [("", "inline"), ("gs://b/x.csv", "gcs"), ("s3://b/x.csv", "s3")])
def test_a_view_says_where_its_rows_are(source: str, storage: str) -> None:
    assert artifacts.roc(POINTS, source)["storage"] == storage
    assert artifacts.confusion_matrix(CLASSES, COUNTS, source)["storage"] == storage


def test_metrics_are_fractions_or_plain_numbers(tmp_path: Path) -> None:
    place = artifacts.write_metrics(
        str(tmp_path / "mlpipeline-metrics.json"), {"accuracy-score": 0.93, "log-loss": 1.5}
    )
    assert json.loads(Path(place).read_text()) == {
        "metrics": [
            {"name": "accuracy-score", "numberValue": 0.93, "format": "PERCENTAGE"},
            {"name": "log-loss", "numberValue": 1.5, "format": "RAW"},
        ]
    }


@pytest.mark.parametrize(("name", "value"), [("-x", 1.0), ("x-", 1.0), ("a b", 1.0), ("x" * 65, 1.0), ("x", math.nan)])
def test_a_metric_that_the_page_would_drop_is_refused(tmp_path: Path, name: str, value: float) -> None:
    with pytest.raises(InvalidArgument):
        artifacts.write_metrics(str(tmp_path / "m.json"), {name: value})
    assert not (tmp_path / "m.json").exists()


def test_metadata_of_version_two_is_what_the_library_itself_writes() -> None:
    theirs = ClassificationMetrics()
    theirs.log_confusion_matrix(CLASSES, COUNTS)
    fpr, tpr, thresholds = (list(each) for each in zip(*POINTS, strict=True))
    theirs.log_roc_curve(fpr, tpr, thresholds)
    ours = artifacts.classification_metadata(CLASSES, COUNTS, POINTS)
    assert json.loads(json.dumps(ours)) == json.loads(json.dumps(theirs.metadata))
