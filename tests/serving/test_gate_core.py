"""The gate of an online service that learns tokens from the registry service, whether that is there or not; and where
secrets are afterwards: nowhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.servers.service import Service, core_service
from tests.serving.gates import READER, WRITER, config, until
from tiffin import Client, Entity, Feature, FeatureTable, ValueType, clock
from tiffin.errors import PermissionDenied, TiffinError, Unauthenticated, Unavailable
from tiffin.registry.access import read_grants
from tiffin.registry.audit import AuditLog, Event, Question
from tiffin.registry.database import open_database
from tiffin.registry.tokens import TokenStore
from tiffin.serving.access.gate import open_gate
from tiffin.serving.access.guarded import GuardedGate
from tiffin.workspace import Workspace


class Realm:
    """A registry service with access control, and a look into its database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder / 'registry.db'}"
        self.engine = open_database(self.url)
        self.store = TokenStore(self.engine)
        self.core = core_service(folder / "core", self.url, auth="tokens")
        self.robot = self.token("robot", "*=admin")

    def token(self, name: str, *grants: str, **more: Any) -> str:
        return self.store.create(name, read_grants(grants), by="test", **more)[1]

    def revoke(self, name: str) -> None:
        token = next(token for token in self.store.tokens() if token.name == name)
        self.store.revoke(token.id, by="test")

    def events(self, **asked: Any) -> list[Event]:
        return AuditLog(self.engine).events(Question(**asked))


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    realm = Realm(tmp_path)
    realm.core.start()
    yield realm
    realm.core.kill()
    realm.engine.dispose()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def gate_of(realm: Realm, opened: ExitStack, token: str | None = None) -> GuardedGate:
    """The gate of an online service, started."""
    options = config(
        realm.folder / "online",
        auth="tokens",
        core_url=realm.core.url,
        auth_token=token or realm.robot,
        grpc_connection_timeout=2,
    )
    workspace = Workspace(options)
    gate = open_gate(options, workspace)
    assert isinstance(gate, GuardedGate)
    opened.callback(workspace.close)
    opened.callback(gate.close)
    gate.start()
    return gate


def is_admitted(gate: GuardedGate, token: str) -> bool:
    try:
        gate.admit(f"Bearer {token}")
    except Unauthenticated:
        return False
    return True


def test_tokens_denials_and_changes_go_through_the_registry_service(realm: Realm, opened: ExitStack) -> None:
    text = realm.token("ci", "rides=reader")
    gate = gate_of(realm, opened)
    principal = gate.admit(f"Bearer {text}")
    gate.require(principal, "rides", READER, action="read")
    with pytest.raises(PermissionDenied):
        gate.require(principal, "rides", WRITER, action="push")
    gate.record(principal, "rides", "push", "trips")
    gate.record(principal, "rides", "push", "trips")
    [event] = realm.events(action="push", denied=False)
    assert (event.principal, event.count, event.via) == ("ci", 1, "robot")
    until(lambda: len(realm.events(denied=True)) == 1, 4)
    until(lambda: sum(each.count for each in realm.events(action="push", denied=False)) == 2, 4)
    late = realm.token("late", "rides=reader")
    assert until(lambda: is_admitted(gate, late)) < 2.5
    realm.revoke("ci")
    assert until(lambda: not is_admitted(gate, text)) < 2.5


def test_an_outage_of_the_registry_service_and_a_restart_during_it(realm: Realm, opened: ExitStack) -> None:
    text = realm.token("ci", "rides=reader")
    first = gate_of(realm, opened)
    principal = first.admit(f"Bearer {text}")
    realm.core.kill()
    time.sleep(1.5)
    assert is_admitted(first, text)
    with pytest.raises(PermissionDenied):
        first.require(principal, "rides", WRITER, action="push")
    with pytest.raises(Unavailable):  # no change is made that cannot be recorded
        first.record(principal, "rides", "push", "other")
    second = gate_of(realm, opened)
    assert is_admitted(second, text)
    assert not is_admitted(second, text[:-1])
    realm.revoke("ci")
    realm.core.start()
    for gate in (first, second):
        assert until(lambda gate=gate: not is_admitted(gate, text)) < 5  # type: ignore[misc]
    until(lambda: any(each.action == "push" for each in realm.events(denied=True)), 5)


def test_a_service_whose_own_token_does_not_suffice_admits_nobody(realm: Realm, opened: ExitStack) -> None:
    text = realm.token("ci", "rides=reader")
    small = realm.token("small", "rides=admin")
    gate = gate_of(realm, opened, small)
    with pytest.raises(Unavailable):
        gate.admit(f"Bearer {text}")
    assert not list((realm.folder / "online").rglob("tokens-*.json"))


TABLE = FeatureTable("trips", ["driver_id"], [Feature("fare", ValueType.DOUBLE)])


def test_no_secret_is_found_anywhere(realm: Realm, tmp_path: Path) -> None:
    """A whole story with known tokens, good and bad, after which every file and every output is searched for them."""
    lake, rows = tmp_path / "lake", tmp_path / "rows"
    shared = {"offline_location": str(lake), "online_store": f"lmdb://{rows}"}
    online = Service(
        "tiffin.serving.online.app:create_app",
        tmp_path / "online",
        shared | {"auth": "tokens", "core_url": realm.core.url, "auth_token": realm.robot, "project": "rides"},
    )
    writer = realm.token("writer", "rides=writer")
    ended = realm.token("ended", "rides=writer", expires=clock.now() + 300_000)
    revoked = realm.token("revoked", "rides=writer")
    realm.revoke("revoked")
    forged = f"{writer[:-4]}0000"
    said: list[str] = []
    online.start()
    try:
        options = shared | {"core_url": realm.core.url, "home": str(tmp_path / "client"), "project": "rides"}
        until(lambda: realm.core.request("GET", "/api/v1/whoami", headers=bearer(writer)).status_code == 200)
        client = Client(options, auth_token=writer)
        client.apply([Entity("driver_id", value_type=ValueType.INT64), TABLE])
        for token in (revoked, ended, forged, "nonsense"):
            with Client(options, auth_token=token) as other, pytest.raises(Unauthenticated) as caught:
                other.list_entities()
            said += [str(caught.value), repr(caught.value)]
        with pytest.raises(TiffinError) as refused:
            client.archive_project("rides")
        said += [str(refused.value), repr(client), repr(client.config) if hasattr(client, "config") else ""]
        client.close()
        rows_given = {"driver_id": [1], "fare": [1.5], "event_timestamp": ["2026-01-01T00:00:00"]}
        push = {"push_source_name": "trips", "df": rows_given}
        until(lambda: online.request("POST", "/push", json=push, headers=bearer(writer)).status_code == 200)
        for token in (writer, revoked, ended, forged):
            for method, path in (("POST", "/push"), ("GET", "/metrics"), ("PUT", "/push"), ("GET", "/none?t=" + "x")):
                answer = online.request(method, path, headers=bearer(token), content=b"{")
                said += [answer.text, repr(answer.headers)]
                answer = realm.core.request(method, path, headers=bearer(token), content=b"{")
                said += [answer.text, repr(answer.headers)]
        realm.core.kill()
        time.sleep(1.2)
        said.append(online.request("POST", "/push", json=push, headers=bearer(writer)).text)
        time.sleep(1.2)
    finally:
        online.stop()
    texts = [realm.robot, writer, ended, revoked, forged]
    secrets = [text.rsplit("_", 1)[1].encode() for text in texts]
    found = [
        (path.name, secret[:6])
        for path in tmp_path.rglob("*")
        if path.is_file()
        for secret in secrets
        if secret in path.read_bytes()
    ]
    assert found == []
    assert not [secret for secret in secrets if secret in "\n".join(said).encode()]
    names = {path.name.partition("-")[0] for path in tmp_path.rglob("*") if path.is_file()}
    assert {"service.log", "registry.db", "tokens", "core.snapshot"} <= names
    assert len(online.log) > 0


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_every_worker_refuses_a_revoked_token(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    engine = open_database(url)
    store = TokenStore(engine)
    token, text = store.create("ci", read_grants(["rides=reader"]), by="test")
    service = Service("tiffin.serving.core.app:create_app", tmp_path, {"registry": url, "auth": "tokens"}, workers=2)
    service.start()

    def statuses() -> set[int]:
        return {service.request("GET", "/api/v1/whoami", headers=bearer(text)).status_code for _ in range(12)}

    try:
        until(lambda: statuses() == {200}, 5)
        store.revoke(token.id, by="test")
        until(lambda: statuses() == {401}, 5)
        time.sleep(0.5)
        assert statuses() == {401}
    finally:
        service.stop()
        engine.dispose()
