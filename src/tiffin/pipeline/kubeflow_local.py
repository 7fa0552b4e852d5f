"""Kubeflow's own local runner: the same steps as lightweight components, with the artifacts that its pages show.

It runs in a process of its own (python -m tiffin.pipeline.kubeflow_local, arguments as JSON on stdin), since Kubeflow
prints to stdout and keeps global state. What that runner cannot do (volume, secret, images) is left out, and told.
"""

# Kubeflow's compiler reads annotations as objects: no postponed evaluation here.

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from kfp import dsl, local

from tiffin.errors import JobFailed
from tiffin.pipeline.chain import STEPS, Made, step_parameters
from tiffin.pipeline.parameters import Parameters

IGNORED: Final = "Kubeflow's local runner uses this environment: no volume, no secret, and no images of the steps."
_STARTS: Final = re.compile(r"Executing task .*?(retrieve|train|evaluate|serve)")
_REASON: Final = re.compile(r"tiffin\.pipeline\.(retrieve|train|evaluate|serve): (.*)")


#: Named because it must be; the local runner starts no image.
_IMAGE: Final = "python:3.11"


@dsl.component(base_image=_IMAGE, install_kfp_package=False)
def retrieve(arguments: list, dataset: dsl.Output[dsl.Dataset]):  # type: ignore[no-untyped-def, type-arg]
    """Features and labels of entity rows."""
    from tiffin.pipeline.chain import run_here

    run_here("retrieve", [*arguments, "--output", dataset.path])


@dsl.component(base_image=_IMAGE, install_kfp_package=False)
def train(arguments: list, dataset: dsl.Input[dsl.Dataset], model: dsl.Output[dsl.Model]):  # type: ignore[no-untyped-def, type-arg]
    """A model of them."""
    from tiffin.pipeline.chain import run_here

    ui = f"{model.path}-ui-metadata.json"
    run_here("train", [*arguments, "--input", dataset.path, "--output", model.path, "--ui-metadata", ui])


@dsl.component(base_image=_IMAGE, install_kfp_package=False)
def evaluate(  # type: ignore[no-untyped-def]
    arguments: list,  # type: ignore[type-arg]
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluated: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
):
    """The model judged; its numbers become metadata of Kubeflow's own artifacts."""
    import json
    from pathlib import Path

    from tiffin.pipeline.chain import run_here

    told = f"{evaluated.path}-metadata.json"
    places = ["--input", dataset.path, "--model", model.path, "--output", evaluated.path, "--report", report.path]
    shown = ["--metrics", f"{evaluated.path}-metrics.json", "--ui-metadata", f"{evaluated.path}-ui-metadata.json"]
    run_here("evaluate", [*arguments, *places, *shown, "--executor-output", told])
    made = json.loads(Path(told).read_bytes())["artifacts"]
    metrics.metadata.update(made["metrics"]["artifacts"][0]["metadata"])
    classification.metadata.update(made["classification"]["artifacts"][0]["metadata"])


@dsl.component(base_image=_IMAGE, install_kfp_package=False)
def serve(arguments: list, model: dsl.Input[dsl.Model], url: dsl.OutputPath(str)):  # type: ignore[no-untyped-def, type-arg, valid-type]
    """The model asked once."""
    from tiffin.pipeline.chain import run_here

    run_here("serve", [*arguments, "--model-uri", model.path, "--url-file", url])


@dsl.pipeline(name="training-pipeline")
def _pipeline(retrieving: list, training: list, evaluating: list, serving: list) -> None:  # type: ignore[type-arg]
    rows = retrieve(arguments=retrieving).outputs["dataset"]
    learned = train(arguments=training, dataset=rows).outputs["model"]
    judged = evaluate(arguments=evaluating, dataset=rows, model=learned)
    serve(arguments=serving, model=judged.outputs["evaluated"])


def run_through_kubeflow(
    parameters: Parameters,
    folder: Path,
    *,
    options: Sequence[str] = (),
    instance: str = "",
    tell: Callable[[str, str], None] = lambda _step, _line: None,
) -> Made:
    """Run all steps by Kubeflow's local runner, artifacts in ``folder/kubeflow``.

    Arguments and errors are those of :func:`tiffin.pipeline.chain.run`.
    """
    folder = folder.absolute()
    root = folder / "kubeflow"
    root.mkdir(parents=True, exist_ok=True)
    before = set(root.iterdir())
    tell("kubeflow", IGNORED)
    given, arguments = step_parameters(parameters, folder, options, instance)
    _run_child({"root": str(root), "steps": arguments}, tell)
    (made,) = set(root.iterdir()) - before
    evaluated = made / "evaluate" / "evaluated"
    metrics = msgspec.json.decode((evaluated / "metrics.json").read_bytes())["metrics"]
    logs = Path(given["tensorboard_gcs_logs"])
    return Made(folder, made / "retrieve" / "dataset", evaluated, made / "evaluate" / "report", logs, metrics)


def _run_child(asked: dict[str, Any], tell: Callable[[str, str], None]) -> None:
    # The runner starts "python" by its name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "tiffin.pipeline.kubeflow_local"]
    step, reason = "retrieve", ""
    with subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PATH": path},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(asked).decode())
        process.stdin.close()
        for line in process.stdout:
            if begun := _STARTS.search(line):
                step = begun[1]
            if own := _REASON.search(line):
                step, reason = own[1], own[2]
            tell(step, line.rstrip())
    if process.returncode:
        raise JobFailed(
            f"The step {step} failed with exit code {process.returncode}: {reason or 'see what it said above.'}",
            hint="What the steps before it made is kept.",
        )


def main() -> int:
    """Run the pipeline that stdin tells of; Kubeflow raises where a step fails."""
    asked = msgspec.json.decode(sys.stdin.buffer.read())
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=asked["root"])
    names = ("retrieving", "training", "evaluating", "serving")
    _pipeline(**dict(zip(names, (asked["steps"][step] for step in STEPS), strict=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
