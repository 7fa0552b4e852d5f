"""The InferenceService, by the official client and over HTTP, at kmock: it keeps objects, and runs nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kmock
import pytest
from jsonschema_rs import ValidationError, validator_for

from tests.servers.process import free_port
from tiffin.errors import FailedPrecondition, InvalidArgument, JobTimeout, PermissionDenied, Unavailable
from tiffin.pipeline import inference_service, serve

NAME, SPACE = "kfserving-feast-serving", "models"
PLACES = {
    version: f"/apis/{version}/namespaces/{SPACE}/inferenceservices/{NAME}" for version in inference_service.VERSIONS
}
URL = "http://kfserving-feast-serving.models.example.com"
READY = {"conditions": [{"type": "Ready", "status": "True"}], "url": URL}
#: The fields of KServe's own V1beta1InferenceService that are used here, with the types that its models (0.21) give
#: them: an object of theirs with the same values comes out as the same document.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "serving.kserve.io/v1beta1"},
        "kind": {"const": "InferenceService"},
        "metadata": {
            "type": "object",
            "required": ["name", "namespace"],
            "additionalProperties": False,
            "properties": {"name": {"type": "string", "maxLength": 63}, "namespace": {"type": "string"}},
        },
        "spec": {
            "type": "object",
            "required": ["predictor"],
            "additionalProperties": False,
            "properties": {
                "predictor": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "containers": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/container"}}
                    },
                }
            },
        },
    },
    "$defs": {
        "container": {
            "type": "object",
            "required": ["name", "image"],
            "additionalProperties": False,
            "properties": {
                "name": {"const": "kserve-container"},
                "image": {"type": "string", "minLength": 1},
                "env": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "value"],
                        "additionalProperties": False,
                        "properties": {"name": {"type": "string"}, "value": {"type": "string"}},
                    },
                },
            },
        }
    },
}


class Cluster:
    """kmock on a port of the loopback, in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._started.wait(20)
        self.kubeconfig = kubeconfig(folder, self.url)

    async def _run(self) -> None:
        logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
        async with kmock.KubernetesEmulator() as api, kmock.Server(api) as server:
            for version in inference_service.VERSIONS:
                api.resources[f"{version}/inferenceservices"] = {
                    "kind": "InferenceService",
                    "namespaced": True,
                    "verbs": ["get", "create", "patch"],
                }
            self.api, self.url = api, str(server.url).rstrip("/")
            self._started.set()
            await self._end.wait()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The side door: the object as any client of HTTP sees it."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/merge-patch+json"}
        request = urllib.request.Request(f"{self.url}{path}", content, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(20)
        self._loop.close()


def kubeconfig(folder: Path, url: str) -> str:
    place = folder / "kubeconfig.json"
    context = {"cluster": "here", "user": "me", "namespace": SPACE}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {}}],
        "contexts": [{"name": "here", "context": context}],
    }
    place.write_text(json.dumps(document))
    return str(place)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.stop()


def body(image: str = "image:1", version: str = inference_service.V1BETA1) -> dict[str, Any]:
    return inference_service.manifest(NAME, SPACE, image, model_uri="gs://bucket/model", version=version)


def later(seconds: float, work: Any) -> threading.Timer:
    timer = threading.Timer(seconds, work)
    timer.start()
    return timer


def test_the_manifest_is_one_of_kserve() -> None:
    valid = validator_for(SCHEMA)
    valid.validate(body())
    valid.validate(inference_service.manifest(NAME, SPACE, "image:1"))
    with pytest.raises(ValidationError):
        valid.validate(body(version=inference_service.V1ALPHA2))
    (container,) = body()["spec"]["predictor"]["containers"]
    assert container["env"] == [{"name": "STORAGE_URI", "value": "gs://bucket/model"}]
    with pytest.raises(InvalidArgument, match="no form 'v1'"):
        inference_service.manifest(NAME, SPACE, "image:1", version="v1")


def test_the_manifest_of_the_article_on_request() -> None:
    made = inference_service.manifest(NAME, "default", "image:1", version=inference_service.V1ALPHA2)
    assert made == {
        "apiVersion": "serving.kubeflow.org/v1alpha2",
        "kind": "InferenceService",
        "metadata": {"labels": {"controller-tools.k8s.io": "1.0"}, "name": NAME, "namespace": "default"},
        "spec": {"default": {"predictor": {"custom": {"container": {"image": "image:1"}}}}},
    }


@pytest.mark.parametrize("version", inference_service.VERSIONS)
def test_the_step_makes_the_object_and_waits_for_its_address(cluster: Cluster, tmp_path: Path, version: str) -> None:
    place = tmp_path / "url"
    timer = later(0.5, lambda: cluster.ask("PATCH", PLACES[version], {"status": READY}))
    asked = ["--name", NAME, "--namespace", SPACE, "--image", "image:1", "--model-uri", "minio://bucket/run/model"]
    services = ["--core-url", "tiffin-core:6565", "--serving-url", "tiffin-online:6566", "--api-version", version]
    try:
        code = serve.main([*asked, *services, "--kubeconfig", cluster.kubeconfig, "--url-file", str(place)])
    finally:
        timer.join()
    assert code == 0
    assert place.read_text() == URL
    spec = cluster.ask("GET", PLACES[version])["spec"]
    container = (
        spec["predictor"]["containers"][0]
        if version == inference_service.V1BETA1
        else spec["default"]["predictor"]["custom"]["container"]
    )
    assert container["image"] == "image:1"
    assert container["env"] == [
        {"name": "STORAGE_URI", "value": "s3://bucket/run/model"},  # what Kubeflow calls minio:// speaks S3
        {"name": "TIFFIN_CORE_URL", "value": "tiffin-core:6565"},
        {"name": "TIFFIN_SERVING_URL", "value": "tiffin-online:6566"},
    ]


def test_one_that_exists_is_changed_and_its_old_readiness_does_not_count(cluster: Cluster) -> None:
    objects = inference_service.connect(cluster.kubeconfig)
    assert inference_service.apply(objects, body()) is None
    cluster.ask("PATCH", PLACES[inference_service.V1BETA1], {"spec": {"predictor": {"minReplicas": 2}}})
    cluster.ask("PATCH", PLACES[inference_service.V1BETA1], {"status": READY})
    before = inference_service.apply(objects, body("image:2"))
    assert before == READY
    predictor = cluster.ask("GET", PLACES[inference_service.V1BETA1])["spec"]["predictor"]
    assert predictor["containers"][0]["image"] == "image:2"
    assert predictor["minReplicas"] == 2  # what others have set stays
    with pytest.raises(JobTimeout, match="has not looked at the change yet"):
        inference_service.wait_until_ready(objects, body(), before=before, timeout=0.3, pause=0.1)
    assert inference_service.wait_until_ready(objects, body(), before=before, pause=0.1, settle=0.3) == URL
    rolling = {"components": {"predictor": {"latestCreatedRevision": "p-2", "latestReadyRevision": "p-1"}}}
    cluster.ask("PATCH", PLACES[inference_service.V1BETA1], {"status": rolling})
    with pytest.raises(JobTimeout, match="the revision p-2 is not ready, and p-1 still answers"):
        inference_service.wait_until_ready(objects, body(), before=before, timeout=0.2, pause=0.1)
    cluster.ask("PATCH", PLACES[inference_service.V1BETA1], {"status": {"components": None, "url": f"{URL}/2"}})
    assert inference_service.wait_until_ready(objects, body(), before=before, timeout=5) == f"{URL}/2"
    assert inference_service.apply(objects, body("image:2")) is None  # nothing changed: nothing to wait for


def test_one_that_does_not_get_ready_says_why(cluster: Cluster) -> None:
    objects = inference_service.connect(cluster.kubeconfig)
    inference_service.apply(objects, body())
    with pytest.raises(JobTimeout, match=f"{SPACE}/{NAME} was not ready after 0.2 s: nothing was said of it") as caught:
        inference_service.wait_until_ready(objects, body(), timeout=0.2, pause=0.1)
    assert f"kubectl describe inferenceservice {NAME} --namespace {SPACE}" in str(caught.value)
    told = {"type": "Ready", "status": "False", "reason": "RevisionMissing", "message": "image:1 cannot be pulled"}
    cluster.ask("PATCH", PLACES[inference_service.V1BETA1], {"status": {"conditions": [told], "url": URL}})
    with pytest.raises(JobTimeout, match="RevisionMissing: image:1 cannot be pulled"):
        inference_service.wait_until_ready(objects, body(), timeout=0.2, pause=0.1)
    cluster.ask("PATCH", PLACES[inference_service.V1BETA1], {"status": {**READY, "url": None}})
    with pytest.raises(JobTimeout, match="it is ready, and has no URL"):
        inference_service.wait_until_ready(objects, body(), timeout=0.2, pause=0.1)


@pytest.mark.parametrize(
    ("status", "kind"), [(401, PermissionDenied), (403, PermissionDenied), (422, FailedPrecondition)]
)
def test_what_kubernetes_refuses_is_told_in_its_own_words(
    cluster: Cluster, status: int, kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"kind": "Status", "code": status, "message": "pipeline-runner cannot create resource inferenceservices"}
    cluster.api["post"] << status << said
    with pytest.raises(kind, match=f"answered {status} for .*{NAME}: pipeline-runner cannot create resource"):
        inference_service.apply(inference_service.connect(cluster.kubeconfig), body())
    asked = ["--name", NAME, "--image", "image:1", "--model-uri", "gs://b/m", "--kubeconfig", cluster.kubeconfig]
    assert serve.main(asked) == 1
    # The last lines are the step's own; a server in a thread of this process may have written before.
    told = capsys.readouterr().err.partition("tiffin.pipeline.serve: ")[2]
    assert "pipeline-runner cannot create" in told
    assert "tiffin/pipeline" not in told


def test_a_cluster_that_is_away_for_a_moment_is_asked_again(cluster: Cluster) -> None:
    objects = inference_service.connect(cluster.kubeconfig)
    with pytest.raises(FailedPrecondition, match="answered 404"):
        inference_service.wait_until_ready(objects, body(), timeout=5)
    inference_service.apply(objects, body())
    cluster.ask("PATCH", PLACES[inference_service.V1BETA1], {"status": READY})
    assert inference_service.wait_until_ready(objects, body(), timeout=5) == URL
    cluster.api["get"] << 500
    with pytest.raises(JobTimeout, match="Kubernetes answered 500"):
        inference_service.wait_until_ready(objects, body(), timeout=0.2, pause=0.1)


def test_no_cluster_is_told_as_such(tmp_path: Path) -> None:
    away = inference_service.connect(kubeconfig(tmp_path, f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(Unavailable, match="could not be asked"):
        inference_service.apply(away, body())
    with pytest.raises(JobTimeout, match="did not answer"):
        inference_service.wait_until_ready(away, body(), timeout=0.1, pause=0.1)
    (tmp_path / "empty").write_text("{}")
    with pytest.raises(Unavailable, match="no Kubernetes to speak to"):
        inference_service.connect(str(tmp_path / "empty"))


@pytest.mark.parametrize("missing", ["--name", "--image"])
def test_what_a_cluster_needs_is_asked_for(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"--name": NAME, "--image": "image:1", "--model-uri": "gs://b/m"}
    assert serve.main([text for name, value in given.items() if name != missing for text in (name, value)]) == 1
    assert f"{missing} is needed for an InferenceService" in capsys.readouterr().err
