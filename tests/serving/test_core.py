"""The routes of the registry service, one by one: what they answer, and how they refuse."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient

from tests.serving.cores import core_client, database
from tiffin import clock
from tiffin.definitions.entity import Entity
from tiffin.definitions.feature_service import FeatureService
from tiffin.jobs.record import JobRecord, JobStatus, JobType
from tiffin.jobs.store import JobStore
from tiffin.registry.memory import MemoryRegistry
from tiffin.registry.sql import open_registry
from tiffin.registry.transfer import load
from tiffin.serving.core import state as core_state
from tiffin.testing.registry import driver, trips

API = "/api/v1"
DEFAULT = f"{API}/projects/default"
TABLES = f"{DEFAULT}/feature-tables"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient[Any]]:
    with core_client(tmp_path) as client:
        yield client


def apply(client: TestClient[Any], *objects: Any, project: str = "default", **more: Any) -> Any:
    body = {"objects": [each.to_document() for each in objects]} | more
    answer = client.post(f"{API}/projects/{project}/apply", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(answer: Any, status: int, code: str) -> dict[str, Any]:
    """The error that an answer tells, whose shape is that of every other."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/json"
    told: dict[str, Any] = answer.json()
    assert {"code", "message", "field", "hint", "request_id"} <= told.keys()
    assert told["request_id"] == answer.headers["x-request-id"] != ""
    return told


# Definitions


def test_objects_are_applied_and_read_as_documents(client: TestClient[Any]) -> None:
    done = apply(client, driver(), trips(), by="ann@lab")
    assert [change["action"] for change in done["plan"]["changes"]] == ["create", "create"]
    assert (done["impact"], [each["revision"] for each in done["meta"]]) == ("compatible", [1, 1])
    document = client.get(f"{TABLES}/trips").json()
    assert type(trips()).from_document(document) == trips()
    assert client.get(f"{TABLES}/trips/history").json()[0]["by"] == "ann@lab"


def test_an_older_revision_stays_readable(client: TestClient[Any]) -> None:
    apply(client, driver(), trips())
    apply(client, trips(description="new"))
    assert "description" not in client.get(f"{TABLES}/trips", params={"revision": 1}).json()["spec"]
    assert client.get(f"{TABLES}/trips").json()["spec"]["description"] == "new"
    diff = client.get(f"{TABLES}/trips/diff", params={"a": 1, "b": 2}).json()
    assert [(each["field"], each["after"]) for each in diff] == [("description", "new")]
    back = client.post(f"{TABLES}/trips/rollback", json={"revision": 1}).json()
    assert back["plan"]["changes"][0]["action"] == "rollback"
    assert [each["action"] for each in client.get(f"{TABLES}/trips/history").json()] == ["create", "update", "rollback"]


def test_a_rollback_that_breaks_must_be_allowed(client: TestClient[Any]) -> None:
    apply(client, driver(), trips())
    apply(client, trips(features=[*trips().features, type(trips().features[0])("more", 3)]))
    refused(client.post(f"{TABLES}/trips/rollback", json={"revision": 1}), 409, "breaking_change")
    done = client.post(f"{TABLES}/trips/rollback", json={"revision": 1, "allow_breaking": True})
    assert done.json()["impact"] == "breaking"


def test_a_change_made_to_an_older_revision_is_refused(client: TestClient[Any]) -> None:
    apply(client, driver(), trips())
    mine = client.get(f"{TABLES}/trips").json()
    apply(client, trips(description="theirs"))
    mine["spec"]["description"] = "mine"
    told = refused(client.post(f"{DEFAULT}/apply", json={"objects": [mine]}), 409, "concurrent_change")
    assert "revision 2" in told["message"]


def test_deletion_is_soft_and_a_second_time_changes_nothing(client: TestClient[Any]) -> None:
    apply(client, driver(), trips(), FeatureService("model", ["trips:count"]))
    refused(client.delete(f"{TABLES}/trips"), 409, "breaking_change")
    done = client.delete(f"{TABLES}/trips", params={"allow_breaking": True})
    assert done.json()["impact"] == "destructive"
    assert client.delete(f"{TABLES}/trips").json()["plan"]["changes"] == []
    refused(client.get(f"{TABLES}/trips"), 404, "not_found")


def test_a_plan_changes_nothing(client: TestClient[Any]) -> None:
    planned = client.post(f"{DEFAULT}/plan", json={"objects": [driver().to_document()]}).json()
    assert (planned["plan"]["changes"][0]["action"], planned["plan"]["version"]) == ("create", 0)
    assert client.get(f"{API}/version").json()["version"] == 0


# Lists


def test_lists_come_in_pages_that_neither_repeat_nor_hide(client: TestClient[Any]) -> None:
    apply(client, *(driver(name=f"e{number}") for number in range(7)))
    seen: list[str] = []
    cursor = None
    while True:
        page = client.get(f"{DEFAULT}/entities", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["spec"]["name"] for item in page["items"]]
        if len(seen) == 3:  # what is added between two pages, before and behind them
            apply(client, driver(name="a"), driver(name="e9"))
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"e{number}" for number in range(7)] + ["e9"]


def test_labels_limit_a_list(client: TestClient[Any]) -> None:
    apply(client, driver(labels={"team": "a", "x": "=1"}), driver(name="other", labels={"team": "a"}))

    def names(*labels: str) -> list[str]:
        page = client.get(f"{DEFAULT}/entities", params={"label": list(labels)}).json()
        return [item["spec"]["name"] for item in page["items"]]

    assert names() == names("team=a") == ["driver_id", "other"]
    assert names("team=a", "x==1") == ["driver_id"]
    assert names("team=b") == []


def test_features_are_found_by_words_and_by_reference(client: TestClient[Any]) -> None:
    apply(client, driver(), trips(description="daily counts"))
    apply(client, driver(), trips(name="count_of"), project="rides")
    found = client.get(f"{API}/search", params={"text": "count"}).json()["items"]
    refs = ["default/trips:count", "rides/count_of:count", "rides/count_of:rate", "default/trips:rate"]
    assert [each["ref"] for each in found] == refs
    first = client.get(f"{API}/search", params={"text": "count", "limit": 1}).json()
    second = client.get(f"{API}/search", params={"text": "count", "limit": 1, "cursor": first["next_cursor"]}).json()
    assert [*first["items"], *second["items"]] == found[:2]
    only = client.get(f"{API}/search", params={"text": "daily", "project": "default"}).json()["items"]
    assert [each["value_type"] for each in only] == ["INT32", "FLOAT"]
    listed = client.get(f"{DEFAULT}/features", params={"entity": ["driver_id"]}).json()["items"]
    assert [each["ref"] for each in listed] == ["default/trips:count", "default/trips:rate"]
    assert client.get(f"{DEFAULT}/features", params={"entity": ["driver_id", "x"]}).json()["items"] == []


# Projects


def test_projects_are_made_listed_and_archived(client: TestClient[Any]) -> None:
    assert client.post(f"{API}/projects", json={"name": "rides"}).status_code == 201
    refused(client.post(f"{API}/projects", json={"name": "rides"}), 409, "already_exists")
    assert [each["name"] for each in client.get(f"{API}/projects").json()["items"]] == ["default", "rides"]
    assert client.post(f"{API}/projects/rides/archive").json() == {"name": "rides"}
    refused(client.post(f"{API}/projects/rides/archive"), 409, "project_archived")
    refused(client.post(f"{API}/projects/default/archive", json={"by": "me"}), 409, "failed_precondition")
    assert [each["name"] for each in client.get(f"{API}/projects").json()["items"]] == ["default"]
    all_of_them = client.get(f"{API}/projects", params={"archived": True}).json()["items"]
    assert [each["archived"] is None for each in all_of_them] == [True, False]


# Reading as a whole


def test_jobs_come_in_pages_the_newest_first(tmp_path: Path, client: TestClient[Any]) -> None:
    """Over many of the same instant, of several tables, of other tables, ended and lost ones in between."""
    with closing(open_registry(database(tmp_path))) as store:
        jobs = JobStore(store.engine, look=False)
        alive = {"heartbeat": clock.now(), "status": JobStatus.IN_PROGRESS}
        records = [
            JobRecord(
                f"job-{number:03}",
                JobType.BATCH_INGESTION,
                "default" if number % 7 else "rides",
                ("trips", "fares") if number % 3 else ("fares",) if number % 2 else ("trips",),
                start=number // 4,
                **(alive if number % 5 else alive | {"heartbeat": 1}),
            )
            for number in range(60)
        ]
        for record in records:
            jobs.add(record)
    asked: dict[str, Any]
    for asked in ({}, {"table": "trips"}, {"project": "default"}, {"table": "fares", "include_terminated": True}):
        paged: list[str] = []
        more: dict[str, Any] = {}
        while more.get("cursor", "") is not None:
            answer = client.get(f"{API}/jobs", params=asked | more | {"limit": 4}).json()
            assert len(answer["items"]) == 4 or answer["next_cursor"] is None
            paged += (item["id"] for item in answer["items"])
            more = {"cursor": answer["next_cursor"]}
        wanted = [
            each.id
            for each in sorted(records, key=lambda each: (-each.start, each.id))
            if asked.get("table", each.tables[0]) in each.tables
            and asked.get("project", each.project) == each.project
            and (each.heartbeat > 1 or "include_terminated" in asked)
        ]
        assert paged == wanted


def test_the_dump_is_what_a_registry_loads(client: TestClient[Any]) -> None:
    apply(client, driver(), trips())
    apply(client, trips(description="x"))
    copy = MemoryRegistry()
    assert load(copy, client.get(f"{API}/dump").text.splitlines()) == 3
    assert copy.load().records[1].revision == 2


def test_contents_are_what_changed_since(client: TestClient[Any]) -> None:
    apply(client, driver(), trips())
    whole = client.get(f"{API}/contents").json()
    assert (whole["complete"], len(whole["contents"]["records"])) == (True, 2)
    version = whole["contents"]["version"]
    known = {"since": version, "view": whole["view"]}
    nothing = client.get(f"{API}/contents", params=known).json()
    assert (nothing["complete"], nothing["contents"]["records"]) == (False, [])
    apply(client, trips(description="x"))
    part = client.get(f"{API}/contents", params=known).json()
    assert (part["complete"], [each["name"] for each in part["contents"]["records"]]) == (False, ["trips"])
    assert client.get(f"{API}/contents", params=known | {"view": "other"}).json()["complete"]
    # A version that never was is of another database: everything is told anew.
    assert client.get(f"{API}/contents", params=known | {"since": 99}).json()["complete"]


def test_instants_are_exact_to_the_microsecond(client: TestClient[Any]) -> None:
    apply(client, driver())
    at = client.get(f"{DEFAULT}/entities/driver_id/history").json()[0]["at"]
    record = client.get(f"{API}/contents").json()["contents"]["records"][0]
    meta = Entity.from_document(client.get(f"{DEFAULT}/entities/driver_id").json()).meta
    assert meta is not None
    assert at == record["created"] == meta.created
    assert at > 2**50


# Who watches


def test_health_readiness_metrics_and_schema_are_open(client: TestClient[Any]) -> None:
    health = client.get("/health").json()
    assert (health["status"], health["registry_version"]) == ("ok", 0)
    assert client.get("/ready").status_code == client.head("/health").status_code == 200
    apply(client, driver())
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    scraped = answer.text
    assert 'tiffin_core_changes_total{project="default",action="apply"} 1' in scraped
    assert 'method="apply",status_code="200"' in scraped
    assert "tiffin_core_registry_version" in scraped
    schema = client.get("/schema").json()
    assert schema == client.get("/schema/openapi.json").json()
    assert schema["openapi"].startswith("3.")
    assert f"{API}/projects/{{project}}/apply" in schema["paths"]
    assert client.get(f"{API}/whoami").json() == {"name": "anonymous", "roles": {"*": "admin"}, "auth": False}


def test_a_request_keeps_the_id_that_it_came_with(client: TestClient[Any]) -> None:
    assert client.get("/health", headers={"X-Request-ID": "abc.1"}).headers["x-request-id"] == "abc.1"
    answer = client.get("/nothing", headers={"X-Request-ID": "abc.1"})
    assert refused(answer, 404, "not_found")["request_id"] == "abc.1"


# Refusals

JSON = {"Content-Type": "application/json"}


def cursor(*place: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "code"),
    [
        ("GET", "/nothing", {}, 404, "not_found"),
        ("GET", "/schema/nothing", {}, 404, "not_found"),
        ("GET", f"{DEFAULT}/planes", {}, 404, "not_found"),
        ("GET", f"{API}/projects/absent/entities", {}, 404, "not_found"),
        ("GET", f"{TABLES}/absent/history", {}, 404, "not_found"),
        ("GET", f"{TABLES}/absent", {"params": {"revision": 1}}, 404, "not_found"),
        ("GET", f"{API}/jobs/absent", {}, 404, "not_found"),
        ("PUT", "/health", {}, 405, "unsupported"),
        ("GET", f"{DEFAULT}/apply", {}, 405, "unsupported"),
        ("POST", f"{DEFAULT}/apply", {"content": b"{", "headers": JSON}, 400, "invalid_argument"),
        ("POST", f"{DEFAULT}/apply", {"content": b"\xff", "headers": JSON}, 400, "invalid_argument"),
        (
            "POST",
            f"{DEFAULT}/apply",
            {"content": b'{"objects": ["\\ud800"]}', "headers": JSON},
            400,
            "invalid_argument",
        ),
        ("POST", f"{DEFAULT}/apply", {"content": b"[" * 100_000, "headers": JSON}, 422, "invalid_argument"),
        ("POST", f"{DEFAULT}/apply", {}, 422, "invalid_argument"),
        ("POST", f"{DEFAULT}/apply", {"json": {}}, 422, "invalid_argument"),
        ("POST", f"{DEFAULT}/apply", {"json": {"objects": [], "alow_breaking": True}}, 422, "invalid_argument"),
        ("POST", f"{DEFAULT}/apply", {"json": {"objects": [], "by": "x" * 256}}, 422, "invalid_argument"),
        ("POST", f"{DEFAULT}/apply", {"json": {"objects": [{"kind": "X", "spec": {}}]}}, 422, "invalid_definition"),
        (
            "POST",
            f"{DEFAULT}/apply",
            {"json": {"objects": [{"kind": "Entity", "spec": {}}]}},
            422,
            "invalid_definition",
        ),
        ("POST", f"{DEFAULT}/apply", {"data": {"objects": "1"}}, 415, "invalid_argument"),
        (
            "POST",
            f"{DEFAULT}/apply",
            {"content": b"{}", "headers": JSON | {"Content-Encoding": "gzip"}},
            415,
            "invalid_argument",
        ),
        ("POST", f"{API}/projects/a b/apply", {"json": {"objects": []}}, 422, "invalid_definition"),
        ("POST", f"{API}/projects", {"json": {"name": "*"}}, 422, "invalid_definition"),
        ("POST", f"{API}/jobs", {"json": {"id": "a b"}}, 422, "invalid_argument"),
        ("GET", f"{API}/jobs", {"params": {"project": "\x00"}}, 422, "invalid_argument"),
        ("GET", f"{API}/jobs", {"params": {"cursor": cursor(2**63, "a")}}, 422, "invalid_argument"),
        ("GET", f"{API}/jobs", {"params": {"cursor": cursor(-1, "a")}}, 422, "invalid_argument"),
        ("GET", f"{API}/jobs", {"params": {"cursor": cursor(1, "\x00")}}, 422, "invalid_argument"),
        ("POST", f"{API}/projects", {"json": {"name": "a", "by": "\x00"}}, 422, "invalid_argument"),
        ("POST", f"{API}/projects", {"json": {"name": "a" * 256}}, 422, "invalid_definition"),
        ("POST", f"{API}/tokens", {"json": {"name": "a", "roles": {"a" * 256: "reader"}}}, 422, "invalid_argument"),
        ("GET", f"{DEFAULT}/entities", {"params": {"limit": 0}}, 422, "invalid_argument"),
        ("GET", f"{DEFAULT}/entities", {"params": {"limit": "many"}}, 422, "invalid_argument"),
        ("GET", f"{DEFAULT}/entities", {"params": {"cursor": "%00"}}, 422, "invalid_argument"),
        ("GET", f"{DEFAULT}/entities", {"params": {"cursor": "MQ"}}, 422, "invalid_argument"),
        ("GET", f"{DEFAULT}/entities", {"params": {"label": "team"}}, 422, "invalid_argument"),
        ("GET", f"{TABLES}/trips/diff", {}, 422, "invalid_argument"),
        ("GET", f"{TABLES}/trips/diff", {"params": {"a": 1, "b": 2**63}}, 422, "invalid_argument"),
        ("GET", f"{API}/contents", {"params": {"since": 2**64}}, 422, "invalid_argument"),
    ],
)
def test_a_mistake_of_the_caller_is_told_in_one_shape(
    client: TestClient[Any], method: str, path: str, arguments: dict[str, Any], status: int, code: str
) -> None:
    refused(client.request(method, path, **arguments), status, code)


def test_a_body_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    with core_client(tmp_path, serving_max_body="2kB") as client:
        long = driver(description="x" * 3000).to_document()
        refused(client.post(f"{DEFAULT}/apply", json={"objects": [long]}), 413, "invalid_argument")

        def chunks() -> Iterator[bytes]:
            yield from [b" " * 1000] * 3

        refused(client.post(f"{DEFAULT}/apply", content=chunks(), headers=JSON), 413, "invalid_argument")
        assert 'limit_rejections_total{limit="body"} 2' in client.get("/metrics").text


def test_a_request_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    with core_client(tmp_path, core_timeout="0.2") as client:
        monkeypatch.setattr(core_state.Core, "snapshot", lambda _: time.sleep(1))
        answer = client.get(f"{DEFAULT}/entities")
        told = refused(answer, 503, "unavailable")
        assert ("0.2 s" in told["message"], answer.headers["retry-after"]) == (True, "1")


def test_a_fault_of_ours_is_a_500_that_says_nothing_of_it(
    client: TestClient[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(core_state.Core, "snapshot", fail)
    answer = client.get(f"{DEFAULT}/entities")
    assert "secret" not in json.dumps(refused(answer, 500, "internal"))
    assert "the secret inside" in caplog.text
