"""Who is answered: every route of the registry service has a rule, and keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.testing import TestClient

from tests.servers.service import core_service
from tests.serving.cores import bearer, core_client, database, tokens
from tiffin.config import Config
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable
from tiffin.errors import PermissionDenied
from tiffin.jobs.record import JobType, new_record
from tiffin.registry.access import Principal, Role, read_grants
from tiffin.registry.registry import Registry
from tiffin.registry.remote import RemoteRegistry
from tiffin.registry.sql import open_registry
from tiffin.registry.tokens import TokenStore
from tiffin.remote.http import Connection
from tiffin.serving.access.guard import OPEN, rule_of
from tiffin.serving.core.app import create_app
from tiffin.serving.core.contents import view_of
from tiffin.testing.registry import driver, trips

API = "/api/v1"
DEFAULT = f"{API}/projects/default"
NOBODY: dict[str, str] = {}

#: Open to everyone, by design: those who watch a service have no role in a project.
WATCHED = {"/health", "/ready", "/metrics", "/schema", "/schema/openapi.json"}
#: What each caller sees a part of, so that no role is needed for the whole.
_LISTS = ("whoami", "version", "contents", "search", "projects", "jobs", "leases", "schedules", "erasures/keys")
FILTERED = {f"GET {API}/{path}" for path in _LISTS} | {f"POST {API}/control/managed"}


def routes(folder: Path) -> list[tuple[str, str, HTTPRouteHandler]]:
    """Every method and path that a service answers, but for OPTIONS."""
    application = create_app(Config({"home": str(folder)})).application
    found = []
    for route in application.routes:
        for handler in getattr(route, "route_handlers", []):
            found += [(method, route.path_format, handler) for method in handler.http_methods if method != "OPTIONS"]
    return sorted(found, key=lambda each: each[:2])


@pytest.fixture
def callers(tmp_path: Path) -> dict[str, dict[str, str]]:
    """A registry with something in it, and the headers of all callers."""
    store = open_registry(database(tmp_path))
    registry = Registry(store)
    registry.apply([driver(), trips()])
    registry.apply([driver(), trips(name="secret")], "rides")
    store.close()
    return tokens(database(tmp_path))


@pytest.fixture
def client(tmp_path: Path, callers: dict[str, dict[str, str]]) -> Iterator[TestClient[Any]]:
    del callers  # its tokens must be there before the service looks
    with core_client(tmp_path, auth="tokens") as client:
        yield client


def job(client: TestClient[Any], callers: dict[str, dict[str, str]], kind: JobType, project: str = "default") -> str:
    record = new_record(kind, project, ["trips"])
    body = {"id": record.id, "type": kind.value, "project": project, "tables": ["trips"], "status": "IN_PROGRESS"}
    made = client.post(f"{API}/jobs", json=body | {"start": 1, "heartbeat": 2**60}, headers=callers["root"])
    assert made.status_code == 201, made.text
    return record.id


def test_every_route_has_a_rule(tmp_path: Path) -> None:
    found = routes(tmp_path)
    assert len(found) > 40
    assert [each[:2] for each in found if rule_of(each[2]) is None] == []
    assert {path for _, path, handler in found if rule_of(handler) == OPEN} == WATCHED


def test_no_route_answers_without_the_right_role(
    tmp_path: Path, client: TestClient[Any], callers: dict[str, dict[str, str]]
) -> None:
    """Whoever has no role where a route looks gets 401 or 403 there, whatever else is wrong with the request."""
    version = client.get(f"{API}/version", headers=callers["root"]).json() | {"age": None}
    work = job(client, callers, JobType.BATCH_INGESTION)
    names = {"project": "default", "name": "trips", "job_id": work, "token_id": "0123", "erasure_id": "0123"}
    for method, path, handler in routes(tmp_path):
        rule = rule_of(handler)
        assert rule is not None
        if rule.role is None:
            continue
        place = path.format(**names)
        body = _body(method, place, work)
        for headers in (NOBODY, bearer("tiffin_000000000000_x"), {"Authorization": "Basic YTpi"}):
            answer = client.request(method, place, headers=headers, **body)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.json()["code"] == "unauthenticated"
            assert answer.headers["www-authenticate"].startswith("Bearer")
        answer = client.request(method, place, headers=callers["stranger"], **body)
        if f"{method} {path}" in FILTERED:
            assert "default" not in answer.text, (method, path, answer.text)
        elif path.startswith(f"{API}/tokens") and answer.status_code in {200, 404}:
            # An admin of a project governs the tokens of that project, and sees no other.
            assert "reader" not in answer.text
        else:
            assert answer.status_code == 403, (method, path, answer.text)
            assert answer.json()["code"] == "permission_denied"
    assert client.get(f"{API}/version", headers=callers["root"]).json() | {"age": None} == version
    assert client.get(f"{API}/jobs/{work}", headers=callers["root"]).json()["status"] == "IN_PROGRESS"


def _body(method: str, path: str, work: str) -> dict[str, Any]:
    """A body that a route would take, so that nothing but the role stands in its way."""
    said = {"id": work, "status": "FAILED", "progress": {}}
    fence = {"lease": "control/default", "owner": "me"}
    new = {"id": work, "type": "BATCH_INGESTION", "project": "default", "tables": ["trips"], "status": "STARTING"}
    new |= {"start": 1, "heartbeat": 1, "spec_hash": "ab"}
    schedule = {"project": "default", "table": "trips", "cron": "0 * * * *", "timespan": None, "due": 1}
    run = {"schedule": schedule | {"created": 1, "created_by": "x"}, "first": 1, "due": 1, "following": 2, "attempt": 1}
    bodies: dict[str, Any] = {
        "/plan": {"objects": [driver(description="x").to_document()]},
        "/apply": {"objects": [driver(description="x").to_document()]},
        "/rollback": {"revision": 1},
        "/projects": {"name": "default"},
        "/jobs": {"id": "x", "type": "BATCH_INGESTION", "project": "default", "tables": [], "status": "STARTING"}
        | {"start": 1, "heartbeat": 1},
        "/reports": {"reports": [said]},
        "/finish": {"report": said, "outcome": {}},
        "/fail": {"heartbeat": 2**61, "reason": "x"},
        "/output": {"uri": "x"},
        "/tokens": {"name": "x", "roles": {"default": "reader"}},
        "/audit": {"events": []},
        "/schedules/trips": {"cron": "0 * * * *"},
        "/control/managed": {"hashes": []},
        "/control/start": {"job": new, "fence": fence},
        "/control/stop": {"id": work, "fence": fence},
        "/control/run": {"run": run, "job": new, "fence": fence},
        "/control/adopt": {"job": new},
        "/control/prune": {"jobs_before": 1},
        "/leases/take": {"name": "repair/default/trips", "owner": "me", "seconds": 1},
        "/leases/release": {"name": "repair/default/trips", "owner": "me"},
    }
    found = [body for end, body in bodies.items() if path.endswith(end)]
    return {"json": found[0]} if found and method in {"POST", "PUT"} else {}


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "status"),
    [
        ("reader", "GET", "/feature-tables/trips", None, 200),
        ("reader", "POST", "/plan", {"objects": [driver(description="x").to_document()]}, 200),
        ("reader", "POST", "/apply", {"objects": [driver(description="x").to_document()]}, 403),
        ("reader", "DELETE", "/feature-tables/trips", None, 403),
        ("writer", "POST", "/apply", {"objects": [driver(description="x").to_document()]}, 200),
        ("writer", "DELETE", "/feature-tables/trips", None, 200),
        ("writer", "POST", "/archive", None, 403),
        ("admin", "POST", "/archive", None, 409),
    ],
)
def test_roles_in_a_project_are_those_of_the_rules(
    client: TestClient[Any],
    callers: dict[str, dict[str, str]],
    who: str,
    method: str,
    path: str,
    body: Any,
    status: int,
) -> None:
    answer = client.request(method, DEFAULT + path, headers=callers[who], **({"json": body} if body else {}))
    assert answer.status_code == status, answer.text


def test_what_breaks_others_needs_an_admin(client: TestClient[Any], callers: dict[str, dict[str, str]]) -> None:
    narrow = trips(features=trips().features[:1]).to_document()
    service = FeatureService("model", ["trips:count"]).to_document()
    applied = client.post(f"{DEFAULT}/apply", json={"objects": [service]}, headers=callers["writer"])
    assert applied.status_code == 200
    wanted = [
        ("POST", f"{DEFAULT}/apply", {"json": {"objects": [narrow], "allow_breaking": True}}),
        ("DELETE", f"{DEFAULT}/feature-tables/trips", {"params": {"allow_breaking": True}}),
    ]
    for method, path, more in wanted:
        answer = client.request(method, path, headers=callers["writer"], **more)
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
        assert "admin" in answer.json()["message"]
    for method, path, more in wanted:
        assert client.request(method, path, headers=callers["admin"], **more).status_code == 200
    back = {"revision": 2, "allow_breaking": True}
    path = f"{DEFAULT}/feature-tables/trips/rollback"
    client.post(path, json={"revision": 1}, headers=callers["writer"])
    assert client.post(path, json=back, headers=callers["writer"]).status_code == 403
    assert client.post(path, json=back, headers=callers["admin"]).status_code == 200


def test_the_author_is_the_caller_whatever_it_claims(
    client: TestClient[Any], callers: dict[str, dict[str, str]]
) -> None:
    body = {"objects": [driver(description="x").to_document()], "by": "somebody@else"}
    client.post(f"{DEFAULT}/apply", json=body, headers=callers["writer"])
    client.delete(f"{DEFAULT}/feature-tables/trips", params={"by": "somebody@else"}, headers=callers["writer"])
    for path in ("entities/driver_id", "feature-tables/trips"):
        history = client.get(f"{DEFAULT}/{path}/history", headers=callers["reader"]).json()
        assert history[-1]["by"] == "writer"


def test_whoever_names_features_of_another_project_must_read_there(
    client: TestClient[Any], callers: dict[str, dict[str, str]]
) -> None:
    service = {"objects": [FeatureService("model", ["trips:count", "rides/secret:count"]).to_document()]}
    for path in ("plan", "apply"):
        assert client.post(f"{DEFAULT}/{path}", json=service, headers=callers["admin"]).status_code == 403
    assert client.post(f"{DEFAULT}/apply", json=service, headers=callers["writer"]).status_code == 200


def test_services_of_other_projects_are_not_told(client: TestClient[Any], callers: dict[str, dict[str, str]]) -> None:
    """Neither by the plan of a change that touches them, nor by its refusal, nor by what was done."""
    spy = FeatureService("spy", ["default/trips:count"]).to_document()
    own = FeatureService("own", ["trips:count"]).to_document()
    for project, service in (("rides", spy), ("default", own)):
        made = client.post(f"{API}/projects/{project}/apply", json={"objects": [service]}, headers=callers["root"])
        assert made.status_code == 200, made.text
    wide, narrow = trips().to_document(), trips(features=trips().features[1:]).to_document()
    table = f"{DEFAULT}/feature-tables/trips"

    def told(who: str) -> list[str]:
        """Everything that is answered of a change that breaks both services, planned, refused, done and undone."""
        steps: list[tuple[str, str, dict[str, Any]]] = [
            ("POST", f"{DEFAULT}/plan", {"json": {"objects": [narrow]}}),
            ("POST", f"{DEFAULT}/apply", {"json": {"objects": [narrow]}}),
            ("POST", f"{DEFAULT}/apply", {"json": {"objects": [narrow], "allow_breaking": True}}),
            ("POST", f"{table}/rollback", {"json": {"revision": 1}}),
            ("POST", f"{DEFAULT}/apply", {"json": {"objects": [narrow], "allow_breaking": True}}),
            ("POST", f"{table}/rollback", {"json": {"revision": 1, "allow_breaking": True}}),
            ("DELETE", table, {}),
            ("DELETE", table, {"params": {"allow_breaking": True}}),
            ("POST", f"{DEFAULT}/apply", {"json": {"objects": [wide], "allow_breaking": True}}),
        ]
        return [client.request(method, path, headers=callers[who], **more).text for method, path, more in steps]

    for text in told("admin"):
        assert "spy" not in text
    assert sum("default/own" in text for text in told("admin")) == 8
    assert sum("rides/spy" in text for text in told("root")) >= 7
    client.delete(f"{DEFAULT}/feature-services/own", headers=callers["root"])
    refused = client.delete(table, headers=callers["admin"]).json()
    assert (refused["code"], "another project" in refused["message"]) == ("breaking_change", True)


def test_no_rollback_brings_back_what_the_caller_may_not_read(
    client: TestClient[Any], callers: dict[str, dict[str, str]]
) -> None:
    for features in (["trips:rate"], ["trips:rate", "rides/secret:count"], ["trips:rate"]):
        service = {"objects": [FeatureService("model", features).to_document()], "allow_breaking": True}
        assert client.post(f"{DEFAULT}/apply", json=service, headers=callers["root"]).status_code == 200
    path, back = f"{DEFAULT}/feature-services/model/rollback", {"revision": 2}
    assert client.post(path, json=back, headers=callers["admin"]).status_code == 403
    answer = client.post(path, json=back, headers=callers["writer"])
    assert answer.status_code == 200, answer.text


def test_no_hint_names_a_project_that_the_caller_may_not_read(
    client: TestClient[Any], callers: dict[str, dict[str, str]]
) -> None:
    """A role may be held in a project that does not exist yet; its holder need not know what is named alike."""
    path = f"{API}/projects/elsewhere/entities"
    assert client.get(path, headers=callers["stranger"]).json()["hint"] is None
    assert "rides" in client.get(path, headers=callers["root"]).json()["hint"]


def test_lists_show_what_the_caller_may_read(client: TestClient[Any], callers: dict[str, dict[str, str]]) -> None:
    job(client, callers, JobType.BATCH_INGESTION, "rides")

    def seen(path: str, who: str) -> str:
        return str(client.get(f"{API}/{path}", headers=callers[who]).text)

    for path in ("projects", "search", "contents", "jobs"):
        assert "rides" in seen(path, "root")
        assert "rides" in seen(path, "writer")
        assert "rides" not in seen(path, "reader")
        assert "rides" not in seen(path, "stranger")
    assert client.get(f"{API}/dump", headers=callers["admin"]).status_code == 403
    assert client.get(f"{API}/search", params={"project": "rides"}, headers=callers["reader"]).status_code == 403
    assert client.get(f"{API}/whoami", headers=callers["writer"]).json() == {
        "name": "writer",
        "roles": {"default": "writer", "rides": "reader"},
        "auth": True,
    }


def test_a_retrieval_is_a_reader_s_to_run_and_an_ingestion_a_writer_s(
    client: TestClient[Any], callers: dict[str, dict[str, str]]
) -> None:
    for kind, expected in ((JobType.HISTORICAL_RETRIEVAL, 200), (JobType.BATCH_INGESTION, 403)):
        found = job(client, callers, kind)
        assert client.get(f"{API}/jobs/{found}", headers=callers["reader"]).status_code == 200
        assert client.post(f"{API}/jobs/{found}/cancel", headers=callers["reader"]).status_code == expected
        assert client.post(f"{API}/jobs/{found}/cancel", headers=callers["writer"]).status_code == 200


def test_metrics_may_be_for_readers_of_everything(tmp_path: Path, callers: dict[str, dict[str, str]]) -> None:
    with core_client(tmp_path, auth="tokens", metrics_auth=True) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=callers["admin"]).status_code == 403
        assert client.get("/metrics", headers=callers["root"]).status_code == 200


def test_no_token_reaches_the_log_or_an_error(
    client: TestClient[Any], callers: dict[str, dict[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    token = callers["reader"]["Authorization"].removeprefix("Bearer ")
    for path in ("/entities", "/apply", f"/{token}"):
        answer = client.get(f"{DEFAULT}{path}", headers=callers["reader"])
        assert path == f"/{token}" or token not in answer.text
    secret = token.rpartition("_")[2]
    assert secret not in caplog.text.replace(f"/{token}", "")


# Views


def test_a_view_names_what_may_be_read() -> None:
    assert view_of(Principal("a", {"*": Role.READER, "x": Role.ADMIN})) == "*"
    one = view_of(Principal("a", {"x": Role.READER}))
    assert one == view_of(Principal("b", {"x": Role.ADMIN}))
    assert len({one, view_of(Principal("a", {})), view_of(Principal("a", {"x": Role.READER, "y": Role.READER}))}) == 3


def test_a_reader_whose_roles_change_keeps_no_stale_picture(tmp_path: Path, callers: dict[str, dict[str, str]]) -> None:
    store = open_registry(database(tmp_path))
    both = bearer(TokenStore(store.engine).create("both", read_grants(["default=reader", "rides=reader"]), by="t")[1])
    service = core_service(tmp_path / "core", database(tmp_path), auth="tokens")
    service.start()
    held = [callers["reader"]]
    connection = Connection(service.url, token=lambda: held[0]["Authorization"].removeprefix("Bearer "))
    try:
        registry = RemoteRegistry(connection, recheck=0)
        assert registry.projects() == ["default"]
        version = registry.snapshot().version
        held[0] = both  # a role more, though nothing changed in the registry
        assert registry.projects() == ["default", "rides"]
        assert registry.get(FeatureTable, "secret", "rides").name == "secret"
        held[0] = callers["reader"]  # and a role less
        assert registry.projects() == ["default"]
        assert list(registry.snapshot().records(project="rides")) == []
        assert registry.snapshot().version == version
        with pytest.raises(PermissionDenied, match="writer"):
            registry.apply(driver(description="x"))
        assert registry.objects(Entity) == [driver()]
    finally:
        connection.close()
        service.kill()
        store.close()
