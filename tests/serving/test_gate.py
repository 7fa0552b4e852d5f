"""The gate: whom it admits and what it records, whatever is sent to it and whatever is away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serving.gates import ADMIN, READER, WRITER, Realm, config, until
from tiffin import clock
from tiffin.errors import InvalidConfig, PermissionDenied, Unauthenticated, Unavailable
from tiffin.registry.access import Principal
from tiffin.registry.audit import AuditLog, Question
from tiffin.registry.database import open_database
from tiffin.serving.access.denials import LONGEST_CREDENTIALS
from tiffin.serving.access.gate import OpenGate, authorization_of, challenge, check_binding, open_gate, ways
from tiffin.serving.access.guarded import GuardedGate
from tiffin.serving.access.kept import KeptFile
from tiffin.serving.access.recorder import MOST_DENIALS, Recorder
from tiffin.serving.access.tokens import KnownTokens
from tiffin.workspace import Workspace


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    realm = Realm(tmp_path)
    yield realm
    realm.end()


@pytest.fixture
def kept(tmp_path: Path) -> KeptFile:
    return KeptFile(tmp_path / "access" / "tokens.json", "realm")


@pytest.fixture
def gate(realm: Realm, kept: KeptFile) -> Iterator[GuardedGate]:
    gate = GuardedGate(realm, tokens=KnownTokens(realm, kept))
    yield gate
    gate.close()


def is_admitted(gate: GuardedGate, token: str) -> bool:
    try:
        gate.admit(f"Bearer {token}")
    except Unauthenticated:
        return False
    return True


# Whom it admits


def test_a_token_admits_its_principal(realm: Realm, gate: GuardedGate) -> None:
    text = realm.token("ci", "rides=writer", "default=reader")
    gate.start()
    assert gate.admit(f"Bearer {text}") == Principal("ci", {"rides": WRITER, "default": READER})
    assert asyncio.run(gate.admit_async(f"Bearer {text}")).name == "ci"


@pytest.mark.parametrize(
    "form", ["Bearer {}", "bearer {}", "BEARER {}", "bEaReR    {}", "  Bearer {}  ", "\tBearer {}"]
)
def test_the_scheme_is_read_in_any_case(realm: Realm, gate: GuardedGate, form: str) -> None:
    text = realm.token("ci")
    gate.start()
    assert gate.admit(form.format(text)).name == "ci"


@pytest.mark.parametrize(
    "form",
    [
        "", " ", "Bearer", "Bearer ", "{}", "Basic {}", "Bearer{}", "Bearer\t{}", "Bearer {} x", "Bearer {},Bearer {}",
        "Bearer {}\n", "Bearer {}\x00", "Bearer \u200b{}", "Bearer {}é", "Bearer '{}'", "Bearer {}=", "Token {}",
        "Bearer Bearer {}", "Bearer tiffin__", "Bearer tiffin_a_b", "Bearer ..", "Bearer \ud800", "Bearer %74{}",
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_one_of_two_ways(realm: Realm, gate: GuardedGate, form: str) -> None:
    text = realm.token("ci")
    gate.start()
    with pytest.raises(Unauthenticated, match="not valid") as caught:
        gate.admit(form.replace("{}", text))
    assert text not in str(caught.value) + repr(caught.value)
    assert challenge(caught.value) == 'Bearer error="invalid_token"'
    with pytest.raises(Unauthenticated, match="no credentials") as caught:
        gate.admit(None)
    assert challenge(caught.value) == "Bearer"


@given(st.text() | st.text(alphabet="Bearertiffin_ ._=") | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_no_text_is_let_in_or_breaks_the_gate(text: str) -> None:
    gate = GuardedGate(_Nobody(), tokens=KnownTokens(_Nobody()))
    assert gate._tokens is not None
    gate._tokens.refresh()
    for each in (text, f"Bearer {text}", f"Bearer tiffin_{text}_{text}"):
        with pytest.raises(Unauthenticated):
            gate.admit(each)


class _Nobody:
    """A source without tokens."""

    def known(self, since: int) -> object:
        from tiffin.registry.tokens import Known

        return Known(1, ())

    def add(self, events: object) -> None:
        """Nothing is kept."""

    def prune(self, before: int) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is held."""


def test_a_token_is_right_to_its_last_letter(realm: Realm, gate: GuardedGate) -> None:
    text, other = realm.token("ci"), realm.token("bot", "*=admin")
    gate.start()
    _, identity, secret = text.split("_")
    _, other_identity, other_secret = other.split("_")
    for wrong in (
        f"tiffin_{identity}_{other_secret}",
        f"tiffin_{other_identity}_{secret}",
        f"tiffin_{identity}_{secret[:-1]}",
        f"tiffin_{identity}_{secret}0",
        f"tiffin_{identity}_{secret.upper()}",
        f"tiffin_{identity}__{secret}",
        f"Tiffin_{identity}_{secret}",
        f"tiffin_{identity}_{realm.find('ci').hash}",
        realm.find("ci").hash,
    ):
        assert not is_admitted(gate, wrong), wrong


def test_megabytes_of_credentials_cost_nothing(realm: Realm, gate: GuardedGate) -> None:
    gate.start()
    long = "Bearer " + "a" * 1_000_000
    began = time.perf_counter()
    for _ in range(1000):
        with pytest.raises(Unauthenticated):
            gate.admit(long)
    assert time.perf_counter() - began < 1.0
    with pytest.raises(Unauthenticated):
        authorization_of([(b"authorization", long.encode())])


def test_one_header_names_the_caller() -> None:
    assert authorization_of([(b"host", b"x")]) is None
    assert authorization_of([(b"host", b"x"), (b"authorization", b"Bearer a")]) == "Bearer a"
    for wrong in (
        [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
        [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer a")],
        [(b"authorization", "Bearer é".encode())],
        [(b"authorization", b"\xff" * 20)],
        [(b"authorization", b"a" * (LONGEST_CREDENTIALS + 1))],
    ):
        with pytest.raises(Unauthenticated):
            authorization_of(wrong)


def test_revoked_and_expired_tokens_stop_within_two_seconds(realm: Realm, gate: GuardedGate) -> None:
    revoked = realm.token("revoked")
    expired = realm.token("expired", expires=clock.now() + 1_500_000)
    gate.start()
    assert is_admitted(gate, revoked)
    assert is_admitted(gate, expired)
    realm.store.revoke(realm.find("revoked").id, by="test")
    assert until(lambda: not is_admitted(gate, revoked)) < 2.0
    assert until(lambda: not is_admitted(gate, expired)) < 2.0
    with pytest.raises(Unauthenticated, match="expired"):
        gate.admit(f"Bearer {expired}")
    fresh = realm.token("fresh")
    assert until(lambda: is_admitted(gate, fresh)) < 2.0


def test_to_be_admitted_takes_microseconds(realm: Realm, gate: GuardedGate) -> None:
    for number in range(200):
        realm.token(f"t{number}")
    header = f"Bearer {realm.token('ci')}"
    gate.start()
    best = min(_seconds(gate, header) for _ in range(5))
    assert best < 50e-6, f"{best * 1e6:.1f} us"


def _seconds(gate: GuardedGate, header: str) -> float:
    began = time.perf_counter()
    for _ in range(1000):
        gate.require(gate.admit(header), "default", READER, action="read")
    return (time.perf_counter() - began) / 1000


# While others are away


def test_nobody_is_admitted_before_tokens_are_known(realm: Realm) -> None:
    text = realm.token("ci")
    realm.is_away = True
    gate = GuardedGate(realm, tokens=KnownTokens(realm))
    gate.start()
    try:
        with pytest.raises(Unavailable, match="does not know its tokens"):
            gate.admit(f"Bearer {text}")
        realm.is_away = False
        until(lambda: gate.counts().age is not None, 3)
        assert gate.admit(f"Bearer {text}").name == "ci"
    finally:
        gate.close()


def test_what_was_known_goes_on_through_an_outage_and_a_restart(
    realm: Realm, gate: GuardedGate, kept: KeptFile
) -> None:
    text = realm.token("ci")
    late = realm.token("late", expires=clock.now() + 3_000_000)
    gate.start()
    realm.is_away = True
    time.sleep(1.2)
    assert is_admitted(gate, text)
    gate.close()
    found = kept.path.stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert text.rsplit("_", 1)[1] not in kept.path.read_text()
    again = GuardedGate(realm, tokens=KnownTokens(realm, kept))
    again.start()
    try:
        assert is_admitted(again, text)
        assert (again.counts().age or 0) > 1.0
        assert not is_admitted(again, text[:-1])
        until(lambda: not is_admitted(again, late), 5)
        realm.is_away = False
        realm.store.revoke(realm.find("ci").id, by="test")
        assert until(lambda: not is_admitted(again, text)) < 2.0
    finally:
        again.close()


def test_tokens_are_not_trusted_for_ever_where_that_is_asked_for(realm: Realm) -> None:
    text = realm.token("ci")
    gate = GuardedGate(realm, tokens=KnownTokens(realm, max_age=1.5))
    gate.start()
    try:
        assert is_admitted(gate, text)
        realm.is_away = True
        time.sleep(2.6)
        with pytest.raises(Unavailable, match="no longer trusts"):
            gate.admit(f"Bearer {text}")
        realm.is_away = False
        until(lambda: (gate.counts().age or 99) < 1, 3)
        assert is_admitted(gate, text)
    finally:
        gate.close()


def forged(kept: KeptFile, about: str = "realm") -> str:
    """A file that admits a token of whoever wrote it; the token."""
    from tiffin.registry.tokens import digest

    text = "tiffin_0123456789ab_" + "0" * 64
    token = {"id": "0123456789ab", "name": "eve", "hash": digest(text), "roles": {"*": "admin"}, "expires": None}
    writer = KeptFile(kept.path, about)
    writer.save({"version": 1, "tokens": [token], "confirmed": 1e18})
    writer.path.replace(kept.path)
    return text


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_what_others_may_write_is_not_believed(realm: Realm, kept: KeptFile, mode: int) -> None:
    text = forged(kept)
    kept.path.chmod(mode)
    tokens = KnownTokens(realm, kept)
    tokens.recall()
    with pytest.raises(Unavailable):
        tokens.find(text)


def test_what_another_registry_said_is_not_believed(realm: Realm, kept: KeptFile) -> None:
    text = forged(kept, about="another")
    tokens = KnownTokens(realm, kept)
    tokens.recall()
    with pytest.raises(Unavailable):
        tokens.find(text)


def test_a_time_from_the_future_is_not_believed(realm: Realm, kept: KeptFile) -> None:
    forged(kept)
    tokens = KnownTokens(realm, kept, max_age=0.2)
    tokens.recall()
    assert (tokens.age or 0) < 1
    time.sleep(0.3)
    assert (tokens.age or 0) > 0.2


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"[]", b"{}", b'{"about": 1}', b'{"version": "x"}', b"\xff\xfe", b"[" * 100_000],
)
def test_a_broken_file_is_as_good_as_none(realm: Realm, kept: KeptFile, content: bytes) -> None:
    kept.path.parent.mkdir()
    kept.path.write_bytes(content)
    tokens = KnownTokens(realm, kept)
    tokens.recall()
    assert tokens.age is None


@pytest.mark.parametrize("document", [[], {}, {"version": 1, "tokens": [1]}, {"version": 1, "tokens": [{"id": "x"}]}])
def test_a_document_of_another_version_is_as_good_as_none(realm: Realm, kept: KeptFile, document: object) -> None:
    kept.save(document)
    tokens = KnownTokens(realm, kept)
    tokens.recall()
    assert tokens.age is None


# What it records


def test_denials_are_recorded_within_a_second_or_two(realm: Realm, gate: GuardedGate) -> None:
    text = realm.token("ci")
    gate.start()
    principal = gate.admit(f"Bearer {text}")
    gate.require(principal, "default", READER, action="read")
    for project, role in (("default", WRITER), ("rides", READER), ("*", READER), ("def/ault", READER)):
        with pytest.raises(PermissionDenied, match="needs the role"):
            gate.require(principal, project, role, action="push")
    for _ in range(3):
        assert not is_admitted(gate, "tiffin_a_b")
    until(lambda: len(realm.denials()) == 5, 3)
    found = {(each.principal, each.project, each.action, each.count) for each in realm.denials()}
    assert found == {
        ("ci", "default", "push", 1),
        ("ci", "rides", "push", 1),
        ("ci", "*", "push", 1),
        ("ci", "", "push", 1),
        ("", "", "authenticate", 3),
    }
    assert gate.counts().dropped == 0


def test_expired_tokens_are_recorded_by_name(realm: Realm, gate: GuardedGate) -> None:
    text = realm.token("ci", expires=clock.now() + 200_000)
    time.sleep(0.3)
    gate.start()
    assert not is_admitted(gate, text)
    gate.close()
    assert [each.principal for each in realm.denials()] == ["ci"]


def test_a_flood_of_denials_neither_waits_nor_fills_the_database(realm: Realm, gate: GuardedGate) -> None:
    text = realm.token("ci")
    gate.start()
    principal = gate.admit(f"Bearer {text}")
    began = time.perf_counter()
    for number in range(20_000):
        with pytest.raises(PermissionDenied):
            gate.require(principal, f"p{number}", READER, action="read")
    assert (time.perf_counter() - began) / 20_000 < 1e-3
    minutes = 1 + int((time.perf_counter() - began) / 60) + 1
    gate.close()
    found = realm.denials()
    assert len(found) <= minutes * MOST_DENIALS
    assert sum(each.count for each in found) + gate.counts().dropped == 20_000
    assert realm.writes < 60


def test_denials_wait_for_the_log_and_are_not_counted_twice(realm: Realm) -> None:
    recorder = Recorder(realm.add)
    recorder.deny("ci", "rides", "push", "x")
    realm.is_away = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            recorder.flush()
        recorder.deny("ci", "rides", "push", "x")
    realm.is_away = False
    recorder.flush()
    recorder.flush()
    assert sum(each.count for each in realm.denials()) == 4


def test_threads_that_are_denied_at_once_are_all_counted(realm: Realm) -> None:
    recorder = Recorder(realm.add)

    def deny() -> None:
        for _ in range(500):
            recorder.deny("ci", "rides", "push", "x")

    threads = [threading.Thread(target=deny) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        recorder.flush()
    for thread in threads:
        thread.join()
    recorder.flush()
    assert sum(each.count for each in realm.denials()) == 2000


def test_a_change_is_in_the_log_before_it_is_made(realm: Realm, gate: GuardedGate) -> None:
    principal = Principal("ci", {"rides": WRITER})
    gate.record(principal, "rides", "push", "trips")
    [found] = realm.log.events(Question(action="push"))
    assert (found.principal, found.project, found.detail, found.count) == ("ci", "rides", "trips", 1)
    for _ in range(4):
        gate.record(principal, "rides", "push", "trips")
    gate.close()
    assert sum(each.count for each in realm.log.events(Question(action="push"))) == 5


def test_no_change_is_made_that_cannot_be_recorded(realm: Realm, gate: GuardedGate) -> None:
    realm.is_away = True
    with pytest.raises(Unavailable):
        gate.record(Principal("ci", {}), "rides", "push", "trips")
    realm.is_away = False


PUSHER = """
import sys
from tests.serving.gates import Realm
from pathlib import Path
from tiffin.registry.access import Principal
from tiffin.serving.access.guarded import GuardedGate

gate = GuardedGate(Realm(Path(sys.argv[1])))
gate.start()
for number in range(100_000):
    gate.record(Principal("ci", {}), "rides", "push", f"table{number}")
    print(f"table{number}", flush=True)
"""


def test_a_kill_loses_no_change_that_was_recorded(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", PUSHER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    made = (first + process.stdout.read()).split()
    process.wait()
    process.stdout.close()
    engine = open_database(f"sqlite:///{tmp_path / 'realm.db'}")
    recorded = {each.detail for each in AuditLog(engine).events(Question(action="push", limit=10**6))}
    engine.dispose()
    assert made
    assert set(made) - {made[-1][:-1]} <= recorded


def test_old_events_are_pruned_where_that_is_asked_for(realm: Realm) -> None:
    from tiffin.registry.audit import Event

    day = 86_400 * 1_000_000
    ages = (1, 10)
    realm.log.add([Event(at=clock.now() - age * day, principal="x", project="p", action=f"a{age}") for age in ages])
    gate = GuardedGate(realm, retention_days=5.0)
    gate.start()
    until(lambda: not realm.log.events(Question(action="a10")), 3)
    gate.close()
    assert realm.log.events(Question(action="a1"))


# Whether there is a gate at all


def test_without_access_control_everyone_may_do_everything(tmp_path: Path) -> None:
    options = config(tmp_path)
    gate = open_gate(options, Workspace(options))
    assert isinstance(gate, OpenGate)
    gate.start()
    for header in (None, "Bearer x", "nonsense"):
        principal = gate.admit(header)
        gate.require(principal, "any", ADMIN, action="x")
        gate.require(principal, "*", ADMIN, action="x")
    gate.close()


@pytest.mark.parametrize(
    ("auth", "expected"),
    [("none", []), ("", []), ("tokens", ["tokens"]), (" Tokens , OIDC ", ["oidc", "tokens"]), ("oidc", ["oidc"])],
)
def test_ways_in(tmp_path: Path, auth: str, expected: list[str]) -> None:
    assert sorted(ways(config(tmp_path, auth=auth))) == expected


@pytest.mark.parametrize("auth", ["token", "none,tokens", "basic", "tokens;oidc", "true"])
def test_an_unknown_way_in_is_refused_and_not_taken_for_none(tmp_path: Path, auth: str) -> None:
    options = config(tmp_path, auth=auth)
    with pytest.raises(InvalidConfig):
        open_gate(options, Workspace(options))
    with pytest.raises(InvalidConfig):
        check_binding(options, "127.0.0.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]"])
def test_the_loopback_may_be_open(tmp_path: Path, host: str) -> None:
    check_binding(config(tmp_path), host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "myhost", "localhost.example.com", "*", "[::]", "0"])
def test_beyond_the_loopback_a_service_says_who_may_come(tmp_path: Path, host: str) -> None:
    with pytest.raises(InvalidConfig, match="would listen") as caught:
        check_binding(config(tmp_path), host)
    assert caught.value.field == "auth"
    check_binding(config(tmp_path, allow_anonymous=True), host)
    check_binding(config(tmp_path, auth="tokens"), host)


def test_a_registry_in_memory_has_no_tokens(tmp_path: Path) -> None:
    options = config(tmp_path, auth="tokens", registry="memory://")
    with pytest.raises(InvalidConfig, match="database"):
        open_gate(options, Workspace(options))


def test_the_kept_file_is_valid_json_with_hashes_alone(realm: Realm, gate: GuardedGate, kept: KeptFile) -> None:
    realm.token("ci", "*=admin")
    gate.start()
    document = json.loads(kept.path.read_text())["document"]
    assert [sorted(token) for token in document["tokens"]] == [["expires", "hash", "id", "name", "roles"]]
