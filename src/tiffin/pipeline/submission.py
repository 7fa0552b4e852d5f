"""The pipeline compiled to a file, and handed to a Kubeflow that runs it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tiffin.errors import InvalidArgument, MissingDependency, Unavailable
from tiffin.pipeline.parameters import Parameters


class Submitted(NamedTuple):
    """A run on a Kubeflow: its id, and the page that shows it."""

    run_id: str
    url: str


def compile_to(place: Path, given: Mapping[str, Any] | None = None) -> Path:
    """Write the pipeline as IR YAML, with ``given`` as its defaults; where it is."""
    if place.suffix not in {".yaml", ".yml"}:
        raise InvalidArgument(
            f"{str(place)!r} is no YAML file: pipelines of version 2 are compiled to nothing else.",
            field="output",
            hint="Name a file that ends in .yaml.",
        )
    chosen = _chosen(given or {})
    try:
        from kfp import compiler

        from tiffin.pipeline.kubeflow import training_pipeline
    except ImportError as error:
        raise MissingDependency("kfp", extra="kubeflow", purpose="Compiling the pipeline") from error
    place.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(training_pipeline, str(place), pipeline_parameters=chosen)
    return place


def submit(host: str, given: Mapping[str, Any], *, experiment: str = "", run_name: str = "") -> Submitted:
    """Start a run on the Kubeflow at ``host``; Unavailable where it does not take it."""
    with tempfile.TemporaryDirectory() as folder:
        compiled = compile_to(Path(folder) / "pipeline.yaml", given)
        import kfp
        import urllib3
        from kfp_server_api import ApiException

        try:
            client = kfp.Client(host=host)
            run = client.create_run_from_pipeline_package(
                str(compiled),
                arguments=_chosen(given),
                run_name=run_name or None,
                experiment_name=experiment or None,
            )
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            raise Unavailable(
                f"The Kubeflow at {host!r} did not take the pipeline: {error}.",
                field="host",
                hint="Name the address of its pipelines, such as http://ml-pipeline-ui:80.",
            ) from error
    return Submitted(run.run_id, f"{host.rstrip('/')}/#/runs/details/{run.run_id}")


def _chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that were given, in their types."""
    read = msgspec.structs.asdict(Parameters.of(given))
    return {name: read[name] for name in given}
