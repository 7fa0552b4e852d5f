from __future__ import annotations

import inspect
from pathlib import Path

import msgspec
import pytest

from tests.cli.conftest import in_this_process as tiffin
from tests.pipeline.store import TARGET, fill, write_questions
from tiffin.errors import InvalidArgument, JobFailed
from tiffin.pipeline.chain import run
from tiffin.pipeline.kubeflow import training_pipeline
from tiffin.pipeline.parameters import Parameters


def test_the_pipeline_for_kubeflow_takes_the_same_parameters_with_the_same_defaults() -> None:
    taken = {name: each.default for name, each in inspect.signature(training_pipeline.pipeline_func).parameters.items()}
    assert taken == msgspec.structs.asdict(Parameters())


def test_parameters_are_read_from_texts() -> None:
    read = Parameters.of({"epochs": "7", "learning_rate": "0.5", "gate": "auc>=0.7"})
    assert (read.epochs, read.learning_rate, read.gate) == (7, 0.5, "auc>=0.7")
    with pytest.raises(InvalidArgument, match="no parameter 'epoch'") as caught:
        Parameters.of({"epoch": 1})
    assert "epochs" in str(caught.value)
    with pytest.raises(InvalidArgument, match="another type"):
        Parameters.of({"epochs": "many"})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chain")
    with fill(folder / "home") as client:
        client.materialize()
    write_questions(folder)
    return folder


def given(home: Path, **more: str) -> Parameters:
    places = {"json_bucket": str(home / "features.json"), "entity_bucket": str(home / "entity.csv")}
    return Parameters.of({**places, "epochs": "20", "learning_rate": "0.01", "serving_name": "sales", **more})


def test_all_steps_run_to_a_prediction(home: Path, tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    made = run(
        given(home, gate="auc>=0.7"),
        tmp_path / "run",
        options=[f"home={home / 'home'}"],
        instance='{"driver_id": 1001}',
        tell=lambda step, line: said.append((step, line)),
    )
    assert list(dict.fromkeys(step for step, _ in said)) == ["retrieve", "train", "evaluate", "serve"]
    assert said[-1][1].startswith('{"driver_id": 1001} -> ')
    assert made.metrics["auc"] >= 0.7
    for place in (
        made.report,
        made.model / "model.onnx",
        made.dataset / "dataset.json",
        made.folder / "serving" / "url",
    ):
        assert place.is_file(), place
    assert (tmp_path / "run" / "published" / "model.onnx").read_bytes() == (made.model / "model.onnx").read_bytes()


def test_a_step_that_fails_stops_the_rest_and_leaves_what_was_made(home: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(JobFailed, match=r"The step evaluate failed with exit code 1: The model 'sales' is not to be"):
        run(
            given(home, gate="auc>=1.0,log-loss<=0"),
            tmp_path / "run",
            options=[f"home={home / 'home'}"],
            tell=lambda step, _line: said.append(step),
        )
    assert "serve" not in said
    assert (tmp_path / "run" / "model" / "model.onnx").is_file()
    assert (tmp_path / "run" / "evaluation" / "report.html").is_file()
    assert not (tmp_path / "run" / "published" / "model.onnx").exists()
    with pytest.raises(JobFailed, match=r"The step retrieve failed .* no file"):
        run(given(home, json_bucket="nowhere.json"), tmp_path / "other")


def test_the_command_line(home: Path, tmp_path: Path) -> None:
    parameters = [
        text
        for name, value in {
            "json_bucket": home / "features.json",
            "entity_bucket": home / "entity.csv",
            "target_name": TARGET,
            "epochs": 2,
        }.items()
        for text in ("-P", f"{name}={value}")
    ]
    done = tiffin(
        "pipeline", "run", "--local", "--home", str(home / "home"), "--folder", str(tmp_path), "--json", *parameters
    )
    assert Path(done.json["report"]).is_file()
    place = tmp_path / "pipeline.yaml"
    tiffin("pipeline", "compile", "-o", str(place), "-P", "epochs=20")
    assert "epochs: int [Default: 20.0]" in place.read_text()
    for wrong in (["compile", "-o", str(tmp_path / "pipeline.zip")], ["run"], ["compile", "-P", "epochs"]):
        tiffin("pipeline", *wrong, code=1)
