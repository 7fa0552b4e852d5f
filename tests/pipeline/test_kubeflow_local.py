from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.pipeline.store import fill, write_questions
from tiffin.errors import JobFailed
from tiffin.pipeline.chain import run
from tiffin.pipeline.kubeflow_local import IGNORED, run_through_kubeflow
from tiffin.pipeline.parameters import Parameters


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kubeflow")
    with fill(folder / "home") as client:
        client.materialize()
    write_questions(folder)
    return folder


def given(home: Path, **more: str) -> Parameters:
    places = {"json_bucket": str(home / "features.json"), "entity_bucket": str(home / "entity.csv")}
    return Parameters.of({**places, "epochs": "5", "learning_rate": "0.01", "serving_name": "sales", **more})


def test_kubeflow_runs_the_same_steps_and_its_artifacts_read_as_its_pages_do(home: Path, tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    options = [f"home={home / 'home'}"]
    made = run_through_kubeflow(
        given(home),
        tmp_path / "run",
        options=options,
        instance='{"driver_id": 1001}',
        tell=lambda step, line: said.append((step, line)),
    )
    assert said[0] == ("kubeflow", IGNORED)
    assert any('{"driver_id": 1001} -> ' in line for _, line in said)
    assert made.report.read_text().lstrip().lower().startswith("<!doctype html")
    output = json.loads((made.model.parent / "executor_output.json").read_text())["artifacts"]
    metrics = output["metrics"]["artifacts"][0]["metadata"]
    assert metrics == made.metrics
    assert all(math.isfinite(value) for value in metrics.values())
    shown = output["classification"]["artifacts"][0]["metadata"]
    matrix = shown["confusionMatrix"]
    assert {len(row["row"]) for row in matrix["rows"]} == {len(matrix["rows"])} == {len(matrix["annotationSpecs"])}
    assert all(math.isfinite(value) for point in shown["confidenceMetrics"] for value in point.values())
    plain = run(given(home), tmp_path / "plain", options=options)
    assert (plain.model / "model.onnx").read_bytes() == (made.model / "model.onnx").read_bytes()


def test_a_missed_gate_stops_with_its_reason_and_leaves_dataset_and_model(home: Path, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"The step evaluate failed .* is not to be served"):
        run_through_kubeflow(given(home, gate="auc>=1.0,log-loss<=0"), tmp_path, options=[f"home={home / 'home'}"])
    (folder,) = (tmp_path / "kubeflow").iterdir()
    assert (folder / "retrieve" / "dataset" / "dataset.json").is_file()
    assert (folder / "train" / "model" / "model.onnx").is_file()
    assert not (folder / "serve").exists()
