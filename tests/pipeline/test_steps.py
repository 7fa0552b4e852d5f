"""The steps as a user runs them: by their arguments, on files, over a real store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import pytest
from msgspec.structs import replace

from tests.pipeline.store import FEATURES, TARGET, fill, write_questions
from tiffin import Client
from tiffin.errors import FailedPrecondition, InvalidArgument, InvalidData, NotFound
from tiffin.pipeline import evaluate, retrieve, train
from tiffin.pipeline.dataset import Dataset
from tiffin.pipeline.fit import Settings
from tiffin.pipeline.matrix import matrix
from tiffin.pipeline.model import Model


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a store in ``home``, and the questions of the article beside it."""
    folder = tmp_path_factory.mktemp("pipeline")
    with fill(folder / "home"):
        write_questions(folder)
        yield folder


def run_retrieve(world: Path, output: Path, *more: str) -> int:
    given = ["--json-bucket", str(world / "features.json"), "--entity-bucket", str(world / "entity.csv")]
    where = ["--target-name", TARGET, "--output", str(output), "--option", f"home={world / 'home'}"]
    return retrieve.main([*given, *where, *more])


def run_train(folder: Path, *more: str) -> int:
    where = ["--input", str(folder / "dataset"), "--output", str(folder / "model")]
    shown = ["--ui-metadata", str(folder / "train-ui.json")]
    return train.main([*where, *shown, "--mode", "local", "--epochs", "40", "--learning-rate", "0.01", *more])


def run_evaluate(folder: Path, *more: str) -> int:
    where = [
        "--input",
        str(folder / "dataset"),
        "--model",
        str(folder / "model"),
        "--output",
        str(folder / "evaluation"),
    ]
    shown = ["--metrics", str(folder / "metrics.json"), "--ui-metadata", str(folder / "ui.json")]
    return evaluate.main([*where, *shown, *more])


@pytest.fixture(scope="module")
def done(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which retrieve, train and evaluate have ended well."""
    folder = tmp_path_factory.mktemp("done")
    assert run_retrieve(world, folder / "dataset", "--staging-bucket", str(folder / "staging")) == 0
    assert run_train(folder, "--classes", "Loss of Driver,Profit of Driver", "--name", "sales") == 0
    assert run_evaluate(folder, "--probability", "0.45", "--gate", "auc>=0.8") == 0
    return folder


def test_the_dataset_is_the_point_in_time_join(done: Path, world: Path) -> None:
    about, training, validation = Dataset.load(str(done / "dataset"))
    assert about.features == tuple(FEATURES[:-1])
    assert about.columns == tuple(name.replace(":", "__") for name in FEATURES[:-1])
    assert about.entities == {"driver_id": "INT64"}
    assert about.dropped == 1  # the driver whom nobody knows
    whole = pl.concat([training, validation]).sort("driver_id", "event_timestamp")
    assert (whole.height, validation.height) == (800, 160)
    staged = pl.concat([pl.read_parquet(path, glob=False) for path in sorted((done / "staging").rglob("part-*"))])
    assert whole.equals(staged.filter(pl.col(TARGET).is_not_null()).sort("driver_id", "event_timestamp"))
    assert whole["driver_statistics__acc_rate"].null_count() > 0  # kept, not dropped


def test_a_rerun_gives_the_same_bytes(done: Path, world: Path, tmp_path: Path) -> None:
    assert run_retrieve(world, tmp_path / "dataset") == 0
    assert run_train(tmp_path, "--classes", "Loss of Driver,Profit of Driver", "--name", "sales") == 0
    assert (tmp_path / "dataset" / "dataset.json").read_bytes() == (done / "dataset" / "dataset.json").read_bytes()
    assert (tmp_path / "model" / "model.onnx").read_bytes() == (done / "model" / "model.onnx").read_bytes()
    assert run_train(tmp_path, "--name", "sales", "--seed", "1") == 0
    assert (tmp_path / "model" / "model.onnx").read_bytes() != (done / "model" / "model.onnx").read_bytes()


def test_the_model_carries_scaler_order_and_threshold_and_no_pickle(done: Path) -> None:
    content = (done / "evaluation" / "model.onnx").read_bytes()
    onnx.checker.check_model(onnx.load_from_string(content))
    card = Model(content).card
    assert card.threshold == 0.45
    assert card.classes == ("Loss of Driver", "Profit of Driver")
    assert card.features == tuple(FEATURES[:-1])
    assert [path for path in done.rglob("*") if path.suffix in {".pkl", ".pickle", ".joblib", ".data"}] == []
    before = Model.load(str(done / "model"))
    rows = matrix(Dataset.load(str(done / "dataset")).validation, card.columns)
    assert before.card.threshold == 0.5
    assert before.scores(rows).tobytes() == Model(content).scores(rows).tobytes()


def test_tensorboard_reads_the_events(done: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (view,) = json.loads((done / "train-ui.json").read_text())["outputs"]
    assert view["type"] == "tensorboard"
    read = EventAccumulator(view["source"])
    read.Reload()
    assert set(read.Tags()["scalars"]) == {"loss/training", "loss/validation", "accuracy/validation"}
    losses = [event.value for event in read.Scalars("loss/validation")]
    assert len(losses) > 3
    assert min(losses) < losses[0]


def test_what_kubeflow_shows(done: Path) -> None:
    metrics = {row["name"]: row for row in json.loads((done / "metrics.json").read_text())["metrics"]}
    assert metrics["accuracy-score"]["format"] == "PERCENTAGE"
    assert 0.8 < metrics["accuracy-score"]["numberValue"] <= 1
    views = {view["type"]: view for view in json.loads((done / "ui.json").read_text())["outputs"]}
    assert set(views) == {"confusion_matrix", "roc", "web-app"}
    counts = [int(line.rsplit(",", 1)[1]) for line in views["confusion_matrix"]["source"].splitlines()]
    assert (len(counts), sum(counts)) == (4, 160)
    assert (done / "evaluation" / "confusion_matrix.csv").read_text() == views["confusion_matrix"]["source"]
    page = (done / "evaluation" / "report.html").read_text()
    assert "Profit of Driver" in page
    assert page.count("<svg") == 3


def test_a_model_that_misses_its_gate_ends_the_chain_and_leaves_what_was_found(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("dataset", "model"):
        (tmp_path / name).symlink_to(done / name)
    goal = tmp_path / "bucket"
    assert run_evaluate(tmp_path, "--gate", "auc>=0.8,log-loss<=0.001", "--gcs-path", str(goal)) == 1
    told = capsys.readouterr().err
    assert "is not to be served: log-loss is 0." in told
    assert "Traceback" not in told
    assert not goal.exists()
    assert not (tmp_path / "evaluation" / "model.onnx").exists()
    assert "Not to be served" in (tmp_path / "evaluation" / "report.html").read_text()
    assert json.loads((tmp_path / "metrics.json").read_text())["metrics"]


def test_the_metadata_of_version_two(done: Path, tmp_path: Path) -> None:
    for name in ("dataset", "model"):
        (tmp_path / name).symlink_to(done / name)
    place = tmp_path / "executor_output.json"
    uris = ["--metrics-uri", "gs://b/metrics", "--classification-uri", "gs://b/classes"]
    assert run_evaluate(tmp_path, "--executor-output", str(place), *uris) == 0
    artifacts = json.loads(place.read_text())["artifacts"]
    (metrics,), (classes,) = (artifacts[name]["artifacts"] for name in ("metrics", "classification"))
    assert metrics["uri"] == "gs://b/metrics"
    assert metrics["metadata"]["auc"] > 0.8
    assert [len(row["row"]) for row in classes["metadata"]["confusionMatrix"]["rows"]] == [2, 2]


def test_a_model_is_not_judged_by_other_rows(done: Path, world: Path, tmp_path: Path) -> None:
    assert run_retrieve(world, tmp_path / "dataset", "--split", "time") == 0
    other = Dataset.load(str(tmp_path / "dataset"))
    assert other.training["event_timestamp"].max() < other.validation["event_timestamp"].min()  # type: ignore[operator]
    mine = Model.load(str(done / "model"))
    changed = other._replace(about=replace(other.about, hash="other"))
    with pytest.raises(FailedPrecondition, match="its own training rows may be among them"):
        evaluate.evaluate(changed, mine)


def test_a_target_may_be_a_column_of_the_entity_rows(world: Path) -> None:
    rows = pl.read_csv(world / "entity.csv", try_parse_dates=True).with_columns(late=pl.col("driver_id") % 2 == 0)
    with Client(home=str(world / "home")) as client:
        found = retrieve.retrieve(client, FEATURES, rows, "late", split="time", size=0.3)
        assert found.about.features == tuple(FEATURES)
        model, _ = train.train(found, Settings(epochs=2))
        assert model.card.target == "late"
        with pytest.raises(InvalidArgument, match="neither a feature"):
            retrieve.retrieve(client, FEATURES, rows, "lat")
        with pytest.raises(InvalidArgument, match="takes numbers and truth values"):
            retrieve.retrieve(client, [*FEATURES, "driver_statistics:city"], rows, "late")
        with pytest.raises(NotFound):
            retrieve.retrieve(client, ["driver_statistics:conv_rat"], rows, "late")
        with pytest.raises(InvalidArgument, match="no feature is left"):
            retrieve.retrieve(client, FEATURES[-1:], rows, TARGET)
        early = rows.with_columns(pl.col("event_timestamp") - pl.duration(days=100))
        with pytest.raises(
            InvalidData, match=r"No row has a value of driver_statistics:avg_daily_trips, .* nothing to"
        ):
            retrieve.retrieve(client, FEATURES, early.with_columns(late=pl.col("driver_id") % 2 == 0), "late")
        with pytest.raises(InvalidData, match="None of the 801 rows has a value"):
            retrieve.retrieve(client, FEATURES, early, TARGET)


def test_labels_other_than_two_classes_are_refused(done: Path) -> None:
    dataset = Dataset.load(str(done / "dataset"))
    wrong = dataset.training.with_columns(pl.lit(2, pl.Int32).alias(TARGET))
    with pytest.raises(InvalidData, match="a classifier learns 0 and 1"):
        train.labels_of(wrong, TARGET)
    assert train.labels_of(dataset.training.with_columns(pl.col(TARGET) == 1), TARGET).dtype == np.int64


def test_both_forms_of_the_list_of_features(tmp_path: Path) -> None:
    place = tmp_path / "features.json"
    for document in ({"Features": FEATURES}, FEATURES):
        place.write_text(json.dumps(document))
        assert retrieve.read_features(str(place)) == FEATURES
    for wrong in ('{"features": []}', "{", '"a:b"', '{"Features": [1]}'):
        place.write_text(wrong)
        with pytest.raises(InvalidData, match="does not list features"):
            retrieve.read_features(str(place))


@pytest.mark.parametrize("more", [["--split-size", "1.5"], ["--option", "home"], ["--feature-service", "x"]])
def test_wrong_arguments_do_no_work(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert run_retrieve(world, tmp_path / "dataset", *more) == 1
    assert not (tmp_path / "dataset").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_a_step_without_the_files_of_the_one_before_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_train(tmp_path) == 1
    assert "dataset.json" in capsys.readouterr().err
    assert run_evaluate(tmp_path) == 1
    assert "dataset.json" in capsys.readouterr().err
