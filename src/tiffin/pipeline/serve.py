"""serve: a model for everybody to ask, as an InferenceService of a cluster or as a process of this machine.

python -m tiffin.pipeline.serve --name NAME --namespace NAMESPACE --image IMAGE --model-uri gs://bucket/model
python -m tiffin.pipeline.serve --local --model-uri FOLDER --instance '{"driver_id": 1001}'
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import msgspec

from tiffin.errors import InvalidArgument
from tiffin.pipeline import arguments, files, inference_service
from tiffin.pipeline.arguments import say
from tiffin.pipeline.local_server import LocalServer
from tiffin.pipeline.model import Model


def parser() -> arguments.Parser:
    """The step's arguments."""
    made = arguments.Parser(prog="tiffin.pipeline.serve", description=str(__doc__).partition("\n")[0])
    made.add_argument("--name", default="", help="of the InferenceService")
    made.add_argument("--namespace", default="default", help="of the cluster (default: default)")
    made.add_argument("--image", default="", help="a container that runs python -m tiffin.pipeline.server")
    made.add_argument("--model-uri", required=True, help="folder or bucket of the model")
    made.add_argument("--serving-url", default="", help="HOST:PORT of the online service, for the model's features")
    made.add_argument(
        "--api-version",
        choices=inference_service.VERSIONS,
        default=inference_service.V1BETA1,
        help="form of the object",
    )
    made.add_argument(
        "--kubeconfig", default="", help="how the cluster is reached (default: as this pod, or as kubectl)"
    )
    made.add_argument("--timeout", type=float, default=600, help="seconds until it must be ready (default: 600)")
    made.add_argument("--url-file", default="", help="where its address is written")
    made.add_argument("--local", action="store_true", help="start the model server here, and ask it once")
    made.add_argument("--instance", default="", help="what is then asked, as JSON (default: whether it is ready)")
    made.add_client_options()
    return made


def step(given: argparse.Namespace) -> None:
    """Serve as the arguments say."""
    url = _serve_here(given) if given.local else _serve_in_cluster(given)
    if given.url_file:
        files.write(given.url_file, url.encode())


def _serve_in_cluster(given: argparse.Namespace) -> str:
    for name in ("name", "image"):
        if not getattr(given, name):
            raise InvalidArgument(f"--{name} is needed for an InferenceService.", field=name, hint="Or give --local.")
    environment = {
        f"TIFFIN_{name.upper()}": getattr(given, name) for name in ("core_url", "serving_url") if getattr(given, name)
    }
    body = inference_service.manifest(
        given.name,
        given.namespace,
        given.image,
        model_uri=_storage(given.model_uri),
        environment=environment,
        version=given.api_version,
    )
    objects = inference_service.connect(given.kubeconfig)
    before = inference_service.apply(objects, body)
    say(f"The InferenceService {given.namespace}/{given.name} is applied; waiting until it is ready.")
    url = inference_service.wait_until_ready(objects, body, before=before, timeout=given.timeout)
    say(f"It answers at {url}")
    return url


def _storage(uri: str) -> str:
    """A model's location as KServe knows it: the store that Kubeflow calls minio:// speaks S3."""
    return f"s3://{uri.removeprefix('minio://')}" if uri.startswith("minio://") else uri


def _serve_here(given: argparse.Namespace) -> str:
    name = Model.load(given.model_uri).card.name
    options = arguments.client_options(given) | ({"serving_url": given.serving_url} if given.serving_url else {})
    with LocalServer(given.model_uri, options=options, timeout=given.timeout) as server:
        server.check(name)
        say(f"The model {name!r} is ready at {server.url}")
        if given.instance:
            (found,) = server.predict(name, [_instance(given.instance)])
            say(f"{given.instance} -> {found['class']} (probability {found['probability']:.4f})")
        return server.url


def _instance(text: str) -> object:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"--instance {text!r} is not JSON: {error}.", field="instance") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step; its exit code."""
    return arguments.run(step, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
