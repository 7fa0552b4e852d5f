"""The compiled pipeline, loaded back and checked step by step."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2

from tiffin.pipeline import kubeflow
from tiffin.pipeline.parameters import Parameters
from tiffin.pipeline.submission import compile_to

STEPS = ("retrieve", "train", "evaluate", "serve")
#: The parameters of the article, in its order, with its defaults.
ARTICLE = {
    "feast_step_image": "gcr.io/project_id/feast_kube/apachespark_job:v1",
    "trainmodel_step_image": "gcr.io/project_id/feast_kube/train_job:v1",
    "evaluator_step_image": "gcr.io/project_id/feast_kube/evals_job:v1",
    "json_bucket": "gs://feast_data_source/data/features.json",
    "entity_bucket": "gs://feast_data_source/data/entity.csv",
    "staging_bucket": "gs://feast-staging-bucket-3670014/",
    "split_size": 0.2,
    "epochs": 5,
    "learning_rate": 0.001,
    "batch_size": 64,
    "shuffle_size": 1000,
    "target_name": "driver_statistics__sales_status",
    "tensorboard_gcs_logs": "gs://feast_data_source/taxi/logs",
    "gcs_path": "gs://feast_data_source/taxi/model",
    "gcs_path_confusion": "gs://feast_data_source/taxi/",
    "mode": "gcs",
    "probability": 0.5,
    "serving_name": "kfserving-feast-serving",
    "serving_namespace": "default",
    "image": "gcr.io/project_id/feast_kubeflow/serving_job:v1",  # without the article's stray "<"
}
KINDS = {str: "STRING", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE"}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_to(tmp_path_factory.mktemp("compiled") / "pipeline.yaml")


@pytest.fixture(scope="module")
def spec(compiled: Path) -> dict[str, Any]:
    """The first document, through the schema of Kubeflow: unknown fields are errors."""
    document = next(yaml.safe_load_all(compiled.read_text()))
    message = json_format.ParseDict(document, pipeline_spec_pb2.PipelineSpec())
    return dict(json_format.MessageToDict(message))


@pytest.fixture(scope="module")
def platform(compiled: Path) -> dict[str, Any]:
    _, document = yaml.safe_load_all(compiled.read_text())
    message = json_format.ParseDict(document, pipeline_spec_pb2.PlatformSpec())
    executors: dict[str, Any] = json_format.MessageToDict(message)["platforms"]["kubernetes"]["deploymentSpec"][
        "executors"
    ]
    return executors


def tasks(spec: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spec["root"]["dag"]["tasks"]
    return found


def test_it_loads_under_both_names(compiled: Path) -> None:
    loaded = components.load_component_from_file(str(compiled))
    assert loaded.name == "training-pipeline"
    assert set(loaded.component_spec.inputs or {}) == set(Parameters.__struct_fields__)
    assert kubeflow.feast_training_pipeline is kubeflow.training_pipeline


def test_the_parameters_are_the_articles_and_ours_with_their_defaults(spec: dict[str, Any]) -> None:
    found = spec["root"]["inputDefinitions"]["parameters"]
    ours = msgspec.structs.asdict(Parameters())
    assert {name: found[name]["defaultValue"] for name in ARTICLE} == ARTICLE
    assert {name: each["defaultValue"] for name, each in found.items()} == ours
    assert {name: each["parameterType"] for name, each in found.items()} == {
        name: KINDS[type(value)] for name, value in ours.items()
    }
    assert list(ours)[: len(ARTICLE)] == list(ARTICLE)


def test_every_parameter_reaches_a_step(spec: dict[str, Any]) -> None:
    used = {
        given["componentInputParameter"]
        for task in tasks(spec).values()
        for given in task.get("inputs", {}).get("parameters", {}).values()
        if "componentInputParameter" in given
    }
    assert used == set(Parameters.__struct_fields__)


def test_the_steps_follow_each_other(spec: dict[str, Any]) -> None:
    after = {name: set(task.get("dependentTasks", ())) for name, task in tasks(spec).items()}
    assert set(after) == {*STEPS, "createpvc", "deletepvc"}
    for before, step in zip(("createpvc", *STEPS), (*STEPS, "deletepvc"), strict=True):
        assert before in after[step]
    # Each with the cache off: a volume from the cache is one that was deleted, and buckets change under their names.
    assert [name for name, task in tasks(spec).items() if task["cachingOptions"].get("enableCache")] == []


def test_the_steps_pass_artifacts(spec: dict[str, Any]) -> None:
    passed = {
        (step, name): (given["taskOutputArtifact"]["producerTask"], given["taskOutputArtifact"]["outputArtifactKey"])
        for step in STEPS
        for name, given in tasks(spec)[step]["inputs"].get("artifacts", {}).items()
    }
    assert passed == {
        ("train", "dataset"): ("retrieve", "dataset"),
        ("evaluate", "dataset"): ("retrieve", "dataset"),
        ("evaluate", "model"): ("train", "model"),
        ("serve", "model"): ("evaluate", "evaluated"),
    }
    made = {
        step: {
            name: each["artifactType"]["schemaTitle"]
            for name, each in spec["components"][f"comp-{step}"]
            .get("outputDefinitions", {})
            .get("artifacts", {})
            .items()
        }
        for step in STEPS
    }
    assert made == {
        "retrieve": {"dataset": "system.Dataset"},
        "train": {"model": "system.Model", "mlpipeline_ui_metadata": "system.Artifact"},
        "evaluate": {
            "evaluated": "system.Model",
            "metrics": "system.Metrics",
            "classification": "system.ClassificationMetrics",
            "report": "system.HTML",
            "mlpipeline_metrics": "system.Artifact",
            "mlpipeline_ui_metadata": "system.Artifact",
        },
        "serve": {},
    }
    # The page of a run shows the artifact whose name, so written, is this one.
    assert re.sub(r"[\W_]", "-", "mlpipeline_ui_metadata") == "mlpipeline-ui-metadata"


def test_images_are_parameters(spec: dict[str, Any]) -> None:
    image = {"retrieve": "feast_step_image", "train": "trainmodel_step_image", "evaluate": "evaluator_step_image"}
    for step in STEPS:
        own = "step_image" if step == "serve" else "image"
        container = spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]
        assert container["image"] == f"{{{{$.inputs.parameters['{own}']}}}}"
        given = tasks(spec)[step]["inputs"]["parameters"][own]["componentInputParameter"]
        assert given == image.get(step, "evaluator_step_image")
        assert container["command"] == ["python", "-m", f"tiffin.pipeline.{step}"]
    assert tasks(spec)["serve"]["inputs"]["parameters"]["image"] == {"componentInputParameter": "image"}


def test_volume_and_secret(spec: dict[str, Any], platform: dict[str, Any]) -> None:
    asked = {
        name: each["runtimeValue"]["constant"]
        for name, each in tasks(spec)["createpvc"]["inputs"]["parameters"].items()
    }
    assert (asked["access_modes"], asked["size"], asked["pvc_name_suffix"]) == (["ReadWriteOnce"], "1Gi", "-my-pvc")
    key = "/secret/gcp-credentials/user-gcp-sa.json"
    for step in STEPS[:3]:
        placed = platform[f"exec-{step}"]
        (mount,) = placed["pvcMount"]
        assert (mount["mountPath"], mount["taskOutputParameter"]["producerTask"]) == ("/mnt", "createpvc")
        (secret,) = placed["secretAsVolume"]
        assert (secret["secretName"], secret["mountPath"]) == ("user-gcp-sa", "/secret/gcp-credentials")
        environment = spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]["env"]
        assert {each["name"]: each["value"] for each in environment} == {
            "GOOGLE_APPLICATION_CREDENTIALS": key,
            "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": key,
        }
    assert "exec-serve" not in platform


def substituted(spec: dict[str, Any], step: str, folder: Path) -> list[str]:
    """A step's arguments as its container gets them, with the pipeline's own defaults and places in a folder."""
    defaults = msgspec.structs.asdict(Parameters())
    names = {
        name: given["componentInputParameter"] for name, given in tasks(spec)[step]["inputs"]["parameters"].items()
    }

    def place(found: re.Match[str]) -> str:
        where, name, what = found.group(1), found.group(2), found.group(3)
        if where == "inputs.parameters":
            return str(defaults[names[name]])
        return f"gs://bucket/{name}" if what == "uri" else str(folder / name)

    def value(text: str) -> str:
        text = text.replace("{{$.outputs.output_file}}", str(folder / "executor_output.json"))
        return re.sub(r"\{\{\$\.([a-z.]+)\['(\w+)'\](?:\.(\w+))?\}\}", place, text)

    return [value(text) for text in spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]["args"]]


@pytest.mark.parametrize("step", STEPS)
def test_the_steps_own_command_lines_read_what_they_are_given(spec: dict[str, Any], step: str, tmp_path: Path) -> None:
    arguments = substituted(spec, step, tmp_path)
    assert not any("{{" in text for text in arguments)
    read = importlib.import_module(f"tiffin.pipeline.{step}").parser().parse_args(arguments)
    told = dict(zip(arguments[::2], arguments[1::2], strict=True))
    for name, value in told.items():
        assert str(getattr(read, name.removeprefix("--").replace("-", "_"))) == value, name


#: What a step's command line knows, and a pipeline has no use for: of this machine alone, or a default that is right.
LEFT = {
    "retrieve": {"option"},
    "train": {"patience"},
    "evaluate": set[str](),
    "serve": {"local", "instance", "option", "project", "kubeconfig", "timeout", "api_version"},
}


@pytest.mark.parametrize("step", STEPS)
def test_no_argument_of_a_step_is_forgotten(spec: dict[str, Any], step: str, tmp_path: Path) -> None:
    known = set(
        vars(importlib.import_module(f"tiffin.pipeline.{step}").parser().parse_args(substituted(spec, step, tmp_path)))
    )
    given = {text.removeprefix("--").replace("-", "_") for text in substituted(spec, step, tmp_path)[::2]}
    assert known - given == LEFT[step]


def test_compiled_defaults_may_be_others(tmp_path: Path) -> None:
    place = compile_to(tmp_path / "other.yaml", {"epochs": "20", "split": "time"})
    document = next(yaml.safe_load_all(place.read_text()))
    found = document["root"]["inputDefinitions"]["parameters"]
    assert (found["epochs"]["defaultValue"], found["split"]["defaultValue"]) == (20, "time")
    assert json.dumps(found["learning_rate"]["defaultValue"]) == "0.001"
