"""``tiffin pipeline compile|run|submit``: retrieve, train, evaluate and serve, here or on a Kubeflow."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiffin.cli import output
from tiffin.cli.session import Session, command, group
from tiffin.errors import InvalidArgument

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tiffin.pipeline.chain import Made

app = group("pipeline", "From features to a model that is served, step by step.")


class Through(StrEnum):
    """What starts the steps of a local run."""

    processes = "processes"
    kubeflow = "kubeflow"


_Parameters = Annotated[
    list[str] | None,
    typer.Option("--parameter", "-P", metavar="NAME=VALUE", help="A parameter of the pipeline; may be repeated."),
]


@command(
    app,
    "compile",
    example="tiffin pipeline compile\ntiffin pipeline compile -o pipeline.yaml -P epochs=20",
    store=False,
)
def compile_pipeline(
    session: Session,
    to: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The YAML file to write.")] = Path(
        "training_pipeline.yaml"
    ),
    parameter: _Parameters = None,
) -> None:
    """Write the pipeline in the form that Kubeflow Pipelines takes."""
    from tiffin.pipeline.submission import compile_to

    place = compile_to(to, _given(parameter))
    session.answer({"file": str(place)}, lambda: [f"The pipeline is in {place}"])


@command(
    app,
    "run",
    example="tiffin pipeline run --local -P feature_service=arrival_delay -P entity_bucket=flights.parquet "
    "-P target_name=late\ntiffin pipeline run --local -P json_bucket=features.json -P entity_bucket=entity.csv",
)
def run_pipeline(
    session: Session,
    local: Annotated[bool, typer.Option("--local", help="On this machine, a process a step.")] = False,
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where everything is left.")] = Path(
        "pipeline-run"
    ),
    instance: Annotated[
        str, typer.Option("--instance", metavar="JSON", help="Keys that the served model is asked for.")
    ] = "",
    through: Annotated[
        Through,
        typer.Option(
            "--through", metavar="HOW", help="What starts the steps: processes, or kubeflow (its local runner)."
        ),
    ] = Through.processes,
    parameter: _Parameters = None,
) -> None:
    """Run all steps: retrieve, train, evaluate, serve. One that fails stops the rest; what was made stays."""
    from tiffin.pipeline.chain import run
    from tiffin.pipeline.parameters import Parameters

    if not local:
        raise InvalidArgument(
            "Where the pipeline is to run was not said.",
            field="local",
            hint="Give --local, or hand it to a Kubeflow: tiffin pipeline submit --host URL.",
        )
    given = _given(parameter)
    given.setdefault("project", session.place)
    options = [f"{name}={value}" for name, value in session.options.items() if name != "project"]
    if through is Through.kubeflow:
        from tiffin.pipeline.submission import local_runner

        run = local_runner()
    made = run(Parameters.of(given), folder, options=options, instance=instance, tell=_tell)
    session.answer(_data(made), lambda: _view(made))


@command(
    app,
    "submit",
    example="tiffin pipeline submit --host http://localhost:8888 -P epochs=20",
    store=False,
)
def submit_pipeline(
    session: Session,
    host: Annotated[str, typer.Option("--host", metavar="URL", help="The address of Kubeflow Pipelines.")],
    experiment: Annotated[str, typer.Option("--experiment", metavar="NAME", help="The experiment it belongs to.")] = "",
    run_name: Annotated[str, typer.Option("--run-name", metavar="NAME", help="What the run is called.")] = "",
    parameter: _Parameters = None,
) -> None:
    """Start the pipeline on a Kubeflow."""
    from tiffin.pipeline.submission import submit

    found = submit(host, _given(parameter), experiment=experiment, run_name=run_name)
    session.answer(found._asdict(), lambda: [f"Run {found.run_id}: {found.url}"])


def _given(texts: list[str] | None) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidArgument(f"{text!r} is not NAME=VALUE.", field="parameter", hint="Write epochs=20.")
        given[name.strip()] = value
    return given


def _tell(step: str, line: str) -> None:
    output.note(f"{step:9} {line}")


def _data(made: Made) -> dict[str, Any]:
    places = {name: str(value) for name, value in made._asdict().items() if isinstance(value, Path)}
    return {**places, "metrics": made.metrics}


def _view(made: Made) -> list[RenderableType]:
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in made.metrics.items())
    return [metrics, f"Model:  {made.model}", f"Report: {made.report}", f"Events: {made.logs}"]
