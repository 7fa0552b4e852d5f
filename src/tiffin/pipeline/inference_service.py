"""InferenceService: what Kubernetes is told to run for a model, and waiting until it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from tiffin.errors import (
    FailedPrecondition,
    InvalidArgument,
    JobTimeout,
    MissingDependency,
    PermissionDenied,
    TiffinError,
    Unavailable,
)

#: The forms that can be asked for: KServe's, and the article's, of when it was Kubeflow's KFServing.
V1BETA1: Final = "serving.kserve.io/v1beta1"
V1ALPHA2: Final = "serving.kubeflow.org/v1alpha2"
VERSIONS: Final = (V1BETA1, V1ALPHA2)

_PLURAL: Final = "inferenceservices"
#: Seconds to connect to Kubernetes, and to wait for each of its answers.
_PATIENCE: Final = (10, 30)


class Objects(Protocol):
    """What is used of Kubernetes' ``CustomObjectsApi``."""

    def get_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, name: str, **more: Any
    ) -> dict[str, Any]:
        """One object."""
        ...

    def create_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, body: Any, **more: Any
    ) -> dict[str, Any] | None:
        """Make one."""
        ...

    def patch_namespaced_custom_object(
        self, group: str, version: str, namespace: str, plural: str, name: str, body: Any, **more: Any
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
    """The object for a container that serves a model, which it finds where the variable ``STORAGE_URI`` says.

    KServe copies what lies at ``model_uri`` into the container before it starts, and has the variable name the copy.
    """
    if version not in VERSIONS:
        raise InvalidArgument(
            f"There is no form {version!r} of an InferenceService.", field="api_version", hint=f"Use {VERSIONS[0]}."
        )
    variables = {**({"STORAGE_URI": model_uri} if model_uri else {}), **(environment or {})}
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


def apply(objects: Objects, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Make the object, or change the one of its name into it.

    The status of one that was changed, as it stood before, for :func:`wait_until_ready`: until Kubernetes has looked at
    the change, it goes on to say that the service is ready, and means the old one. None where there is nothing old.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    place, name = _place(body)
    try:
        try:
            objects.create_namespaced_custom_object(*place, dict(body), _request_timeout=_PATIENCE)
        except ApiException as error:
            if error.status != 409:  # 409: there is one of this name
                raise
            before = objects.get_namespaced_custom_object(*place, name, _request_timeout=_PATIENCE)
            # A merge: what others set besides, such as a service account or bounds of replicas, stays.
            objects.patch_namespaced_custom_object(*place, name, dict(body), _request_timeout=_PATIENCE)
            after = objects.get_namespaced_custom_object(*place, name, _request_timeout=_PATIENCE)
            return (before.get("status") or {}) if before.get("spec") != after.get("spec") else None
    except ApiException as error:
        raise _refused(body, error) from error
    except HTTPError as error:
        raise _unreachable(body, error) from error
    return None


def wait_until_ready(
    objects: Objects,
    body: Mapping[str, Any],
    *,
    before: Mapping[str, Any] | None = None,
    timeout: float = 600,
    pause: float = 2.0,
    settle: float = 30.0,
) -> str:
    """The URL of a service, once it is ready; JobTimeout, which tells what it waits for, where that takes longer.

    A status like the one from ``before`` a change counts only after ``settle`` seconds: some changes, as of a label,
    never show in it. A Kubernetes that does not answer for a moment is asked again.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    place, name = _place(body)
    began = time.monotonic()
    found = "nothing was said of it"
    while True:
        try:
            answer = objects.get_namespaced_custom_object(*place, name, _request_timeout=_PATIENCE)
        except ApiException as error:
            if error.status < 500 and error.status != 429:
                raise _refused(body, error) from error
            found = f"Kubernetes answered {error.status}: {_reason(error)}"
        except HTTPError as error:
            found = f"Kubernetes did not answer: {error}"
        else:
            status = answer.get("status") or {}
            settled = before is None or status != before or time.monotonic() - began >= settle
            url, found = _judged(status, settled=settled)
            if url:
                return url
        left = began + timeout - time.monotonic()
        if left <= 0:
            raise JobTimeout(
                f"The InferenceService {place[2]}/{name} was not ready after {timeout:g} s: {found}.",
                hint=f"See: kubectl describe inferenceservice {name} --namespace {place[2]}",
            )
        time.sleep(min(pause, left))


def _judged(status: Mapping[str, Any], *, settled: bool) -> tuple[str, str]:
    """The URL of a service that is ready, or what keeps it from that."""
    ready: dict[str, str] = next((each for each in status.get("conditions", ()) if each.get("type") == "Ready"), {})
    if not ready:
        return "", "nothing was said of it"
    if ready.get("status") != "True":
        told = ": ".join(filter(None, (ready.get("reason"), ready.get("message"))))
        return "", told or f"Ready is {ready.get('status')}"
    predictor = (status.get("components") or {}).get("predictor") or {}
    created, serving = predictor.get("latestCreatedRevision"), predictor.get("latestReadyRevision")
    if created != serving:
        return "", f"the revision {created} is not ready, and {serving} still answers"
    if not settled:
        return "", "Kubernetes has not looked at the change yet"
    url = str(status.get("url") or "")
    return url, "it is ready, and has no URL"


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


def _place(body: Mapping[str, Any]) -> tuple[tuple[str, str, str, str], str]:
    """Group, version, namespace and plural of an object, and its name."""
    group, _, version = body["apiVersion"].partition("/")
    return (group, version, body["metadata"]["namespace"], _PLURAL), body["metadata"]["name"]


def _refused(body: Mapping[str, Any], error: Any) -> TiffinError:
    kind = PermissionDenied if error.status in {401, 403} else FailedPrecondition if error.status < 500 else Unavailable
    return kind(
        f"Kubernetes answered {error.status} for the InferenceService {_named(body)}: {_reason(error)}.",
        hint="Is KServe installed, and may this service account get, create and patch its objects?",
    )


def _unreachable(body: Mapping[str, Any], error: Exception) -> Unavailable:
    return Unavailable(
        f"Kubernetes could not be asked for the InferenceService {_named(body)}: {error}.",
        hint="Does the cluster of the kubeconfig run, and can it be reached from here?",
    )


def _named(body: Mapping[str, Any]) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def _reason(error: Any) -> str:
    """The message of Kubernetes itself, which names the rule that was broken, where it gave one."""
    try:
        told = msgspec.json.decode(error.body or "", type=_Status)
    except (msgspec.DecodeError, TypeError):
        return str(error.reason)
    return (told.message or str(error.reason)).rstrip(".")


class _Status(msgspec.Struct):
    """What Kubernetes answers where it refuses."""

    message: str = ""
