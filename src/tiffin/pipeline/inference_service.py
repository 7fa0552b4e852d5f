"""InferenceService: what Kubernetes is told to run for a model, and waiting until it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from tiffin.errors import InvalidArgument, JobTimeout, MissingDependency, Unavailable

#: The forms that can be asked for: KServe's, and the article's, of when it was Kubeflow's KFServing.
V1BETA1: Final = "serving.kserve.io/v1beta1"
V1ALPHA2: Final = "serving.kubeflow.org/v1alpha2"
VERSIONS: Final = (V1BETA1, V1ALPHA2)

_PLURAL: Final = "inferenceservices"


class Objects(Protocol):
    """What is used of Kubernetes' ``CustomObjectsApi``."""

    def get_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, name: str
    ) -> dict[str, Any]:
        """One object."""
        ...

    def create_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, body: Any
    ) -> dict[str, Any] | None:
        """Make one."""
        ...

    def patch_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, name: str, body: Any
    ) -> dict[str, Any] | None:
        """Change one."""
        ...


def manifest(
    name: str,
    namespace: str,
    image: str,
    *,
    model_uri: str = "",
    environment: Mapping[str, str] | None = None,
    version: str = V1BETA1,
) -> dict[str, Any]:
    """The object for a container that serves a model, which it finds at ``model_uri``, as variable ``STORAGE_URI``."""
    if version not in VERSIONS:
        raise InvalidArgument(
            f"There is no form {version!r} of an InferenceService.", field="api_version", hint=f"Use {VERSIONS[0]}."
        )
    variables = {**({"STORAGE_URI": model_uri, "TIFFIN_MODEL": model_uri} if model_uri else {}), **(environment or {})}
    container: dict[str, Any] = {"image": image}
    if variables:
        container["env"] = [{"name": key, "value": value} for key, value in sorted(variables.items())]
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    if version == V1ALPHA2:
        metadata["labels"] = {"controller-tools.k8s.io": "1.0"}
        spec: dict[str, Any] = {"default": {"predictor": {"custom": {"container": container}}}}
    else:
        spec = {"predictor": {"containers": [{"name": "kserve-container", **container}]}}
    return {"apiVersion": version, "kind": "InferenceService", "metadata": metadata, "spec": spec}


def apply(objects: Objects, body: Mapping[str, Any]) -> None:
    """Make the object, or change the one of its name into it."""
    from kubernetes.client import ApiException

    group, _, version = body["apiVersion"].partition("/")
    name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
    place = (group, version, namespace, _PLURAL)
    try:
        try:
            objects.create_namespaced_custom_object(*place, dict(body))
        except ApiException as error:
            if error.status != 409:  # 409: there is one of this name
                raise
            objects.patch_namespaced_custom_object(*place, name, dict(body))
    except ApiException as error:
        raise _refused(name, namespace, error) from error


def wait_until_ready(objects: Objects, body: Mapping[str, Any], *, timeout: float = 600, pause: float = 2.0) -> str:
    """The URL of a service, once it is ready; JobTimeout, which tells what it waits for, where that takes longer."""
    from kubernetes.client import ApiException

    group, _, version = body["apiVersion"].partition("/")
    name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
    until = time.monotonic() + timeout
    found = "nothing was said of it"
    while True:
        try:
            status = objects.get_namespaced_custom_object(group, version, namespace, _PLURAL, name).get("status") or {}
        except ApiException as error:
            raise _refused(name, namespace, error) from error
        ready: dict[str, str] = next((each for each in status.get("conditions", ()) if each.get("type") == "Ready"), {})
        if ready.get("status") == "True" and status.get("url"):
            return str(status["url"])
        if ready:
            found = (
                ": ".join(filter(None, (ready.get("reason"), ready.get("message")))) or f"Ready is {ready['status']}"
            )
        if time.monotonic() >= until:
            raise JobTimeout(
                f"The InferenceService {namespace}/{name} was not ready after {timeout:g} s: {found}.",
                hint=f"See: kubectl describe inferenceservice {name} --namespace {namespace}",
            )
        time.sleep(min(pause, max(until - time.monotonic(), 0)))


def connect(kubeconfig: str = "") -> Objects:
    """Kubernetes as this pod, or else as a kubeconfig, reaches it."""
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise MissingDependency("kubernetes", extra="kubeflow", purpose="Applying an InferenceService") from error
    try:
        if kubeconfig:
            config.load_kube_config(kubeconfig)
        else:
            config.load_config()
    except config.ConfigException as error:
        raise Unavailable(
            f"There is no Kubernetes to speak to: {error}.", hint="Run in a pod, or name a kubeconfig."
        ) from error
    objects: Objects = client.CustomObjectsApi()
    return objects


def _refused(name: str, namespace: str, error: Any) -> Unavailable:
    return Unavailable(
        f"Kubernetes answered {error.status} for the InferenceService {namespace}/{name}: {error.reason}.",
        hint="Is KServe installed, and may this service account change its objects?",
    )
