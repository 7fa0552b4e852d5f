"""Submitting, to a small stand-in of Kubeflow Pipelines' REST API: it records what it is sent, and runs nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.servers.process import free_port
from tiffin.errors import InvalidArgument, PermissionDenied, TiffinError, Unavailable
from tiffin.pipeline.submission import submit

pytestmark = pytest.mark.filterwarnings("ignore:This client only works with Kubeflow Pipeline:FutureWarning")


class StandIn(ThreadingHTTPServer):
    """``sent`` are the requests with a body; ``refusal`` is what runs are answered with, if not with success."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.sent: list[tuple[str, Any]] = []
        self.refusal: tuple[int, dict[str, Any]] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        if self.path.endswith("/healthz"):
            self.tell(200, {"multi_user": False})
        elif "/experiments?" in self.path:
            self.tell(200, {"experiments": []})
        else:
            self.tell(404, {"message": "not found"})

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.sent.append((self.path, sent))
        if self.path.endswith("/experiments"):
            self.tell(200, {"experiment_id": "e-1", "display_name": sent["display_name"]})
        elif self.server.refusal:
            self.tell(*self.server.refusal)
        else:
            self.tell(200, {"run_id": "r-1", "experiment_id": "e-1", "display_name": sent["display_name"]})

    def tell(self, status: int, document: Any) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def kubeflow() -> Iterator[StandIn]:
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def test_a_run_is_sent_with_its_pipeline_and_parameters_in_their_types(kubeflow: StandIn) -> None:
    given = {"epochs": "20", "learning_rate": "0.01", "gate": "auc>=0.7"}
    found = submit(f"{kubeflow.url}/", given, experiment="late flights", run_name="first")
    assert found == ("r-1", f"{kubeflow.url}/#/runs/details/r-1")
    (path, run) = kubeflow.sent[-1]
    assert path.endswith("/apis/v2beta1/runs")
    assert run["display_name"] == "first"
    assert run["runtime_config"]["parameters"] == {"epochs": 20, "learning_rate": 0.01, "gate": "auc>=0.7"}
    spec = run["pipeline_spec"]
    tasks = spec.get("pipeline_spec", spec)["root"]["dag"]["tasks"]
    assert {"retrieve", "train", "evaluate", "serve"} < set(tasks)
    assert "platform_spec" in spec  # volume and secret
    assert "late flights" in {sent.get("display_name") for _, sent in kubeflow.sent}


@pytest.mark.parametrize(("status", "kind"), [(403, PermissionDenied), (400, InvalidArgument), (500, Unavailable)])
def test_a_refusal_is_told_in_its_own_words(kubeflow: StandIn, status: int, kind: type[TiffinError]) -> None:
    kubeflow.refusal = (status, {"message": "User may not create runs"})
    with pytest.raises(kind, match=f"answered {status} to the pipeline: User may not create runs") as caught:
        submit(kubeflow.url, {})
    assert "HTTP response headers" not in str(caught.value)


def test_wrong_parameters_are_told_before_anything_is_sent(kubeflow: StandIn) -> None:
    with pytest.raises(InvalidArgument, match="no parameter 'epoch'"):
        submit(kubeflow.url, {"epoch": 1})
    assert kubeflow.sent == []


def test_a_host_that_does_not_answer_is_told_as_such() -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        submit(f"http://127.0.0.1:{free_port()}", {})
