"""The pipeline compiled to a file, and handed to a Kubeflow that runs it."""

from __future__ import annotations

import socket
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from tiffin.errors import InvalidArgument, MissingDependency, PermissionDenied, TiffinError, Unavailable
from tiffin.pipeline.chain import Made
from tiffin.pipeline.parameters import Parameters

#: Seconds until a Kubeflow must have taken a connection.
_PATIENCE: Final = 10.0


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

        _check_reachable(host)
        try:
            with warnings.catch_warnings():
                # It says at every start which versions of Kubeflow it is for.
                warnings.filterwarnings("ignore", "This client only works with Kubeflow", FutureWarning)
                client = kfp.Client(host=host)
            run = client.create_run_from_pipeline_package(
                str(compiled),
                arguments=_chosen(given),
                run_name=run_name or None,
                experiment_name=experiment or None,
            )
        except ApiException as error:
            raise _refused(host, error) from error
        except (urllib3.exceptions.HTTPError, TimeoutError) as error:  # TimeoutError: of its question for health
            raise Unavailable(
                f"The Kubeflow at {host!r} did not answer: {error}.",
                field="host",
                hint="Name the address of its pipelines, such as http://ml-pipeline-ui:80.",
            ) from error
    return Submitted(run.run_id, f"{host.rstrip('/')}/#/runs/details/{run.run_id}")


def _refused(host: str, error: Any) -> TiffinError:
    """What Kubeflow answered, without the headers and the traceback of its own that it adds."""
    kind = PermissionDenied if error.status in {401, 403} else InvalidArgument if error.status == 400 else Unavailable
    try:
        told = str(msgspec.json.decode(error.body or "", type=dict[str, Any]).get("message", error.reason))
    except (msgspec.DecodeError, TypeError):
        told = str(error.reason)
    return kind(
        f"The Kubeflow at {host!r} answered {error.status} to the pipeline: {told.rstrip('.')}.",
        field="host",
        hint="Is this the address of its pipelines, and may you start runs there?",
    )


def local_runner() -> Callable[..., Made]:
    """What runs the pipeline through Kubeflow's local runner; MissingDependency where that is not installed."""
    try:
        from tiffin.pipeline.kubeflow_local import run_through_kubeflow
    except ImportError as error:
        raise MissingDependency("kfp", extra="kubeflow", purpose="Running through Kubeflow's local runner") from error
    return run_through_kubeflow


def _check_reachable(host: str) -> None:
    """Raise Unavailable where nobody listens: the client of Kubeflow would ask again for minutes."""
    place = urlsplit(host if "://" in host else f"http://{host}")
    try:
        port = place.port or (443 if place.scheme == "https" else 80)
        socket.create_connection((place.hostname or "", port), timeout=_PATIENCE).close()
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"The Kubeflow at {host!r} cannot be reached: {error}.",
            field="host",
            hint="Name the address of its pipelines, such as http://ml-pipeline-ui:80.",
        ) from error


def _chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that were given, in their types."""
    read = msgspec.structs.asdict(Parameters.of(given))
    return {name: read[name] for name in given}
