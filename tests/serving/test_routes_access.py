"""Every route of both services asks for the right role, and a call that is denied changes nothing."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from litestar.testing import TestClient

from tests.serving.gates import until
from tests.serving.routes import ADMIN, CALLER, CORE, EVERY, NOBODY, ONLINE, READER, WRITER, Call
from tiffin import Client, Entity, Feature, FeatureService, FeatureTable, ValueType, clock
from tiffin.config import Config
from tiffin.registry.access import Role, read_grants
from tiffin.registry.audit import AuditLog, Question
from tiffin.registry.database import open_database
from tiffin.registry.tokens import TokenStore
from tiffin.serving.access.guard import rule_of
from tiffin.serving.access.rules import Rule
from tiffin.serving.core import app as core
from tiffin.serving.online import app as online

#: A word that stands in the definitions of the project ``rides`` and nowhere else, and a value in its rows.
WORD, VALUE = "zebra", 424242.5

ROUTES = [("core", *key, call) for key, call in CORE.items()] + [("online", *key, call) for key, call in ONLINE.items()]
IDS = [f"{service} {method} {path}" for service, method, path, _ in ROUTES]


class World:
    """A home with a project, rows and callers, and both services over it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.engine = open_database(f"sqlite:///{home / 'registry.db'}")
        self.store = TokenStore(self.engine)
        self.tokens: dict[str, str] = {}
        self.clients: dict[str, TestClient[Any]] = {}
        self.victim = ""

    def fill(self) -> None:
        """Definitions, rows, a job, and a token for every kind of caller."""
        client = Client(home=str(self.home), project="rides")
        driver = Entity("driver_id", WORD, ValueType.INT64)
        table = FeatureTable("trips", ["driver_id"], [Feature("fare", ValueType.DOUBLE)], description=WORD)
        client.apply([driver, table, FeatureService("model", ["trips:fare"], description=WORD)])
        client.apply([Entity("driver_id", "x", ValueType.INT64)], project="food")
        now = pd.Timestamp.now("UTC") - pd.Timedelta("1h")
        client.push("trips", pd.DataFrame({"driver_id": [1], "fare": [VALUE], "event_timestamp": [now]}))
        client.close()
        for name, grant in (
            ("stranger", "food=admin"),
            ("reader", "rides=reader"),
            ("writer", "rides=writer"),
            ("admin", "rides=admin"),
            ("every", "*=admin"),
        ):
            self.tokens[name] = self.store.create(name, read_grants([grant]), by="test")[1]
        self.tokens["expired"] = self.store.create(
            "expired", {"*": Role.ADMIN}, by="test", expires=clock.now() + 100_000
        )[1]
        ended, self.tokens["revoked"] = self.store.create("revoked", {"*": Role.ADMIN}, by="test")
        self.store.revoke(ended.id, by="test")
        self.victim = self.store.create("victim", {"rides": Role.READER}, by="test")[0].id
        time.sleep(0.2)

    def ask(self, service: str, method: str, call: Call, headers: list[tuple[str, str]]) -> httpx.Response:
        path = call.path.replace("{id}", self.victim)
        return self.clients[service].request(method, path, json=call.json, params=call.query, headers=headers)  # type: ignore[arg-type]

    def as_(self, name: str) -> list[tuple[str, str]]:
        return [("Authorization", f"Bearer {self.tokens[name]}")]

    def state(self) -> dict[str, Any]:
        """All that a call could change: the rows of every table but the audit log, and every file of rows."""
        with closing(sqlite3.connect(self.home / "registry.db")) as raw:
            names = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            rows = {name: sorted(map(repr, raw.execute(f"SELECT * FROM {name}"))) for name in names}
        del rows["audit"]
        files = [path for path in self.home.rglob("*") if path.is_file() and path.suffix not in {".db", ".snapshot"}]
        skipped = {"lock.mdb", "registry.db-wal", "registry.db-shm"}  # and what the services keep of tokens
        return rows | {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.name not in skipped and path.parent.name != "access"
        }


@contextmanager
def served(home: Path, **more: Any) -> Iterator[World]:
    world = World(home)
    world.fill()
    options = {"home": str(home), "auth": "tokens", "project": "rides"} | more
    with (
        TestClient(core.create_app(Config(options)), raise_server_exceptions=False) as first,
        TestClient(online.create_app(Config(options)), raise_server_exceptions=False) as second,
    ):
        world.clients = {"core": first, "online": second}
        alive = {"id": "job1", "heartbeat": clock.now() + 3_600_000_000}  # else whoever looks next ends it
        first.post("/api/v1/jobs", json=CORE["POST", "/api/v1/jobs"].json | alive, headers=world.as_("every"))
        yield world
    world.engine.dispose()


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world that only denied calls are made to."""
    with served(tmp_path_factory.mktemp("quiet")) as world:
        yield world


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world that calls change."""
    with served(tmp_path_factory.mktemp("busy")) as world:
        yield world


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[World]:
    """A world of the test's own."""
    with served(tmp_path) as world:
        yield world


def found_routes(folder: Path) -> dict[tuple[str, str, str], Rule | None]:
    """Every method and path that the services answer, as they themselves list them."""
    application = core.create_app(Config({"home": str(folder)})).application
    found: dict[tuple[str, str, str], Rule | None] = {}
    for route in application.routes:
        for handler in route.route_handlers:  # type: ignore[union-attr]
            for method in handler.http_methods:  # type: ignore[union-attr]
                found["core", method, route.path] = rule_of(handler)
    for path, each in online.ROUTES.items():
        found["online", each.method, path] = each.rule
    return found


def test_every_route_has_a_rule_and_a_line_in_the_table(tmp_path: Path) -> None:
    found = found_routes(tmp_path)
    listed = {(service, method, path) for service, method, path, _ in ROUTES}
    answered = {key for key in found if key[1] != "OPTIONS"}
    assert answered == listed, "a route is new, or gone: say in routes.py who may call it"
    assert [key for key in answered if not isinstance(found[key], Rule)] == []


def test_rules_ask_for_no_less_than_the_table_says(tmp_path: Path) -> None:
    found = found_routes(tmp_path)
    for service, method, path, call in ROUTES:
        rule = found[service, method, path]
        assert rule is not None
        assert (rule.role is None) == (call.least == NOBODY), (method, path)
        if rule.scope == "path" and rule.role is not None:
            assert rule.role == call.least
        if rule.scope == "every":
            assert call.least == EVERY


BAD = {
    "nothing": [],
    "empty": [("Authorization", "")],
    "basic": [("Authorization", "Basic YWRtaW46YWRtaW4=")],
    "unknown": [("Authorization", "Bearer tiffin_0123456789ab_" + "0" * 64)],
    "web": [("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.")],
    "other header": [("X-Forwarded-User", "admin"), ("X-Authorization", "Bearer x"), ("Cookie", "token=admin")],
}


@pytest.mark.parametrize(("service", "method", "path", "call"), ROUTES, ids=IDS)
def test_nobody_is_answered_without_a_valid_token(
    quiet: World, service: str, method: str, path: str, call: Call
) -> None:
    before = quiet.state()
    bad = BAD | {name: quiet.as_(name) for name in ("expired", "revoked")}
    bad["twice"] = [*quiet.as_("every"), *quiet.as_("every")]
    bad["mixed"] = [*quiet.as_("every"), ("Authorization", "Bearer x")]
    bad["joined"] = [("Authorization", f"Bearer {quiet.tokens['every']}, Bearer x")]
    bad["hidden"] = [("Authorization", "Basic x"), *quiet.as_("every")]
    for name, headers in bad.items():
        answer = quiet.ask(service, method, call, headers)
        if call.least == NOBODY:
            assert answer.status_code not in {401, 403, 500}, name
            continue
        assert answer.status_code == 401, (name, answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert WORD not in answer.text
        if name not in {"nothing", "other header"}:
            assert "not valid" in answer.text or (name == "expired" and "expired" in answer.text)
    assert quiet.state() == before


@pytest.mark.parametrize(("service", "method", "path", "call"), ROUTES, ids=IDS)
def test_a_role_too_small_or_elsewhere_is_denied_and_changes_nothing(
    quiet: World, service: str, method: str, path: str, call: Call
) -> None:
    before = quiet.state()
    ranks = {"stranger": CALLER, "reader": READER, "writer": WRITER, "admin": ADMIN}
    for name, rank in ranks.items():
        if rank >= call.least:
            continue
        answer = quiet.ask(service, method, call, quiet.as_(name))
        if (name, method, path) == ("stranger", "GET", "/api/v1/tokens"):
            assert [each["name"] for each in answer.json()] == ["stranger"]
            continue
        assert answer.status_code == 403, (name, answer.text)
        assert WORD not in answer.text
        assert str(VALUE) not in answer.text
    if call.least == CALLER:
        answer = quiet.ask(service, method, call, quiet.as_("stranger"))
        assert answer.status_code == 200, answer.text
        assert WORD not in answer.text
        assert "rides" not in answer.text
    assert quiet.state() == before


#: What is called last, since nothing can be called after it, or since others need what it ends.
_LAST = {"finish", "DELETE", "archive"}


def _late(route: tuple[str, str, str, Call]) -> int:
    _, method, path, _ = route
    return 3 * ("archive" in path) + 2 * ("finish" in path or "fail" in path) + (method == "DELETE")


@pytest.mark.parametrize(("service", "method", "path", "call"), sorted(ROUTES, key=_late), ids=str)
def test_the_least_role_suffices(busy: World, service: str, method: str, path: str, call: Call) -> None:
    name = {NOBODY: "", CALLER: "reader", READER: "reader", WRITER: "writer", ADMIN: "admin", EVERY: "every"}[
        call.least
    ]
    if path.endswith("/feature-tables/{name:str}") and method == "DELETE":
        name = "admin"  # a service reads it
        call = call._replace(query={"allow_breaking": "true"})
    if path.endswith("/entities/{name:str}") and method == "DELETE":
        call = call._replace(path=call.path.replace("driver_id", "car"))  # which no table uses
        with Client(home=str(busy.home), project="rides") as client:
            client.apply([Entity("car", value_type=ValueType.INT64)])
    if path.endswith("/erasures/{erasure_id:str}"):
        with Client(home=str(busy.home), project="rides") as client:
            [begun] = client._workspace.erased.source.begin("rides", "driver_id", ["1" * 32], by="a test")
        call = call._replace(path=call.path.replace("ab12", begun.id))
    answer = busy.ask(service, method, call, busy.as_(name) if name else [])
    accepted = {422} if path == "/v1/push" else {200, 201}
    assert answer.status_code in accepted, answer.text


def test_other_methods_are_answered_to_nobody(quiet: World) -> None:
    before = quiet.state()
    paths = {(service, call.path) for service, _, _, call in ROUTES}
    known = {(service, method, call.path) for service, method, _, call in ROUTES}
    for service, path in sorted(paths):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FOO"):
            if (service, method, path) in known:
                continue
            answer = quiet.ask(service, method, Call(0, path), [])
            is_open = any(call.path == path and call.least == NOBODY for _, _, _, call in ROUTES)
            assert answer.status_code in ({200, 204, 401, 404, 405, 501} if is_open else {401, 404, 405, 501}), (
                method,
                path,
            )
            assert WORD not in answer.text
    assert quiet.state() == before


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_a_method_is_what_the_request_line_says(quiet: World, header: str) -> None:
    before = quiet.state()
    headers = [*quiet.as_("reader"), (header, "DELETE")]
    answer = quiet.ask("core", "GET", Call(0, "/api/v1/projects/rides/entities/driver_id"), headers)
    assert answer.status_code == 200
    answer = quiet.ask("core", "GET", Call(0, "/api/v1/projects/rides/entities/driver_id?_method=DELETE"), headers)
    assert answer.status_code == 200
    assert quiet.state() == before


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/projects/food/../rides/entities",
        "/api/v1/projects/food%2f..%2frides/entities",
        "/api/v1/projects/food/%2e%2e/rides/entities",
        "/api/v1/projects/rides%00/entities",
        "/api/v1/projects/RIDES/entities",
        "/api/v1/projects/rides%20/entities",
        "/api/v1/projects//rides/entities",
        "/api/v1/projects/rides/entities/",
        "/api/v1/projects/%72ides/entities",
        "/api/v1/projects/*/entities",
        "/api/v1/projects/r%D1%96des/entities",
        "//api/v1/projects/rides/entities",
        "/API/v1/projects/rides/entities",
        "/api/v1/search?text=zebra&project=food&project=rides",
        "/api/v1/search?text=zebra",
        "/api/v1/search?text=zebra&project=*",
        "/api/v1/jobs?project=*",
        "/api/v1/jobs",
        "/api/v1/contents?since=-1&view=rides",
        "/api/v1/audit?project=rides",
        "/api/v1/audit?project=food&project=rides",
        "/api/v1/audit?project=*",
        "/api/v1/audit",
        "/api/v1/projects?archived=true",
        "/schema/../api/v1/projects/rides/entities",
        "/health/../api/v1/dump",
    ],
)
def test_no_spelling_of_a_path_shows_another_project(quiet: World, path: str) -> None:
    raw = httpx.URL("http://testserver.local" + path.replace("%", "%")) if "%" in path else path
    answer = quiet.clients["core"].request("GET", raw, headers=dict(quiet.as_("stranger")))
    assert answer.status_code < 500, answer.text
    assert WORD not in answer.text
    assert "trips" not in answer.text


def test_references_across_projects_need_a_reader_there(quiet: World) -> None:
    before = quiet.state()
    reads = {"entities": {"driver_id": [1]}}
    for body in (
        {"project": "food", "features": ["rides/trips:fare"]},
        {"project": "rides", "features": ["trips:fare"]},
        {"project": "rides", "feature_service": "model"},
        {"project": "*", "features": ["rides/trips:fare"]},
        {"project": "rides ", "features": ["trips:fare"]},
        {"features": ["trips:fare"]},
        {"project": "food", "features": [" rides/trips:fare "]},
    ):
        answer = quiet.ask("online", "POST", Call(0, "/v1/features/online", body | reads), quiet.as_("stranger"))
        assert answer.status_code in {403, 404, 422}, answer.text
        assert str(VALUE) not in answer.text
    assert quiet.state() == before


def test_a_service_of_ones_own_opens_no_other_project(fresh: World) -> None:
    document = {"kind": "FeatureService", "spec": {"name": "spy", "features": ["rides/trips:fare"]}}
    call = Call(0, "/api/v1/projects/food/apply", {"objects": [document]})
    answer = fresh.ask("core", "POST", call, fresh.as_("stranger"))
    assert answer.status_code == 403, answer.text
    # And where somebody who may has made it, it opens nothing to those who may not.
    assert fresh.ask("core", "POST", call, fresh.as_("every")).status_code == 200
    asked = {"project": "food", "feature_service": "spy", "entities": {"driver_id": [1]}}
    read = Call(0, "/v1/features/online", asked)

    def status(name: str) -> int:
        return fresh.ask("online", "POST", read, fresh.as_(name)).status_code

    assert status("stranger") in {403, 404}
    until(lambda: status("every") == 200, 5)
    assert str(VALUE) in fresh.ask("online", "POST", read, fresh.as_("every")).text
    for name in ("stranger", "reader", "admin"):  # a reader of one of both projects, whoever asked before
        answer = fresh.ask("online", "POST", read, fresh.as_(name))
        assert answer.status_code == 403, (name, answer.text)
        assert str(VALUE) not in answer.text


@pytest.mark.parametrize(
    "roles",
    [
        {"*": "reader"},
        {"rides": "admin", "*": "admin"},
        {"food": "reader"},
        {"rides": "reader", "food": "reader"},
        {"rides": "owner"},
        {"\uff0a": "admin"},
        {"rides ": "admin"},
        {"RIDES": "admin"},
        {"r\u0456des": "admin"},
        {},
    ],
    ids=repr,
)
def test_nobody_hands_out_more_than_they_hold(quiet: World, roles: dict[str, str]) -> None:
    before = quiet.state()
    call = Call(0, "/api/v1/tokens", {"name": "more", "roles": roles})
    answer = quiet.ask("core", "POST", call, quiet.as_("admin"))
    assert answer.status_code in {403, 422}, answer.text
    for name in ("every", "stranger"):
        victim = next(token for token in quiet.store.tokens() if token.name == name)
        answer = quiet.ask("core", "DELETE", Call(0, f"/api/v1/tokens/{victim.id}"), quiet.as_("admin"))
        assert answer.status_code == 403
    names = {each["name"] for each in quiet.ask("core", "GET", Call(0, "/api/v1/tokens"), quiet.as_("admin")).json()}
    assert names == {"reader", "writer", "admin", "victim"}
    assert quiet.state() == before


def test_breaking_changes_need_an_admin(quiet: World) -> None:
    before = quiet.state()
    call = Call(0, "/api/v1/projects/rides/feature-tables/trips", query={"allow_breaking": "true"})
    assert quiet.ask("core", "DELETE", call, quiet.as_("writer")).status_code == 403
    table = {"name": "trips", "entities": ["driver_id"], "features": [{"name": "fare", "valueType": "STRING"}]}
    body = {"objects": [{"kind": "FeatureTable", "spec": table}], "allow_breaking": True}
    answer = quiet.ask("core", "POST", Call(0, "/api/v1/projects/rides/apply", body), quiet.as_("writer"))
    assert answer.status_code == 403, answer.text
    assert quiet.state() == before


def test_who_made_a_change_is_the_caller_whatever_it_claims(busy: World) -> None:
    body = {"objects": [{"kind": "Entity", "spec": {"name": "claimed", "valueType": "INT64"}}], "by": "root@desk"}
    call = Call(0, "/api/v1/projects/food/apply", body)
    assert busy.ask("core", "POST", call, busy.as_("stranger")).status_code == 200
    [event] = [
        each
        for each in AuditLog(busy.engine).events(Question(project="food", action="create"))
        if "claimed" in each.detail
    ]
    assert event.principal == "stranger"


def test_every_denial_is_in_the_log(quiet: World) -> None:
    before = sum(each.count for each in AuditLog(quiet.engine).events(Question(denied=True)))
    calls = [
        ("core", "POST", Call(0, "/api/v1/projects/rides/archive", {}), quiet.as_("writer")),
        ("online", "POST", ONLINE["POST", "/push"], quiet.as_("reader")),
        ("online", "POST", ONLINE["POST", "/get-online-features"], []),
    ]
    for service, method, call, headers in calls:
        assert quiet.ask(service, method, call, headers).status_code in {401, 403}

    def count() -> int:
        return sum(each.count for each in AuditLog(quiet.engine).events(Question(denied=True)))

    until(lambda: count() >= before + 3, 5)
    actions = {(each.principal, each.action) for each in AuditLog(quiet.engine).events(Question(denied=True))}
    assert {("writer", "archive project"), ("reader", "push"), ("", "authenticate")} <= actions


def test_pushes_are_in_the_log_with_whoever_made_them(fresh: World) -> None:
    for _ in range(3):
        assert fresh.ask("online", "POST", ONLINE["POST", "/push"], fresh.as_("writer")).status_code == 200
    events = AuditLog(fresh.engine).events(Question(action="push"))
    assert {(each.principal, each.project, each.detail) for each in events} == {("writer", "rides", "trips to online")}


def test_metrics_may_ask_for_a_reader(tmp_path: Path) -> None:
    with served(tmp_path, metrics_auth="true") as world:
        for service in ("core", "online"):
            call = Call(0, "/metrics")
            assert world.ask(service, "GET", call, []).status_code == 401
            assert world.ask(service, "GET", call, world.as_("admin")).status_code == 403
            shown = world.ask(service, "GET", call, world.as_("every"))
            assert shown.status_code == 200
            prefix = {"core": "tiffin_core", "online": "tiffin_serving"}[service]
            assert f'{prefix}_auth_denied_total{{reason="unauthenticated"}} 1\n' in shown.text
            assert f"{prefix}_audit_dropped_total 0\n" in shown.text
            assert f"{prefix}_access_age_seconds 0." in shown.text


def test_revoked_tokens_stop_on_both_services(busy: World) -> None:
    token, text = busy.store.create("brief", {"rides": Role.READER}, by="test")
    calls = {"core": CORE["GET", "/api/v1/whoami"], "online": ONLINE["POST", "/v1/features/online"]}
    methods = {"core": "GET", "online": "POST"}
    headers = [("Authorization", f"Bearer {text}")]

    def status(service: str) -> int:
        return busy.ask(service, methods[service], calls[service], headers).status_code

    until(lambda: all(status(service) != 401 for service in calls), 3)
    busy.store.revoke(token.id, by="test")
    assert until(lambda: all(status(service) == 401 for service in calls), 5) < 2.5
