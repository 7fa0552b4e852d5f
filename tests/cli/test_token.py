"""``tiffin token`` and ``tiffin audit``: in the database, and through the registry service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Tiffin, in_own_process
from tests.servers.service import Service, core_service
from tests.serving.gates import until
from tiffin import clock
from tiffin.errors import InvalidArgument


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIFFIN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def core(tmp_path: Path, home: Path) -> Iterator[Service]:
    service = core_service(tmp_path / "core", f"sqlite:///{home / 'registry.db'}", auth="tokens")
    service.start()
    yield service
    service.kill()


def created(tiffin: Tiffin, *arguments: str) -> str:
    """The text of a new token."""
    return tiffin("token", "create", *arguments).out.strip()


def test_a_token_is_printed_alone_and_once(tiffin: Tiffin, home: Path) -> None:
    done = tiffin("token", "create", "ci", "--role", "default=reader", "-r", "rides=writer")
    text = done.out
    assert text.count("\n") == 1
    assert text.startswith("tiffin_")
    secret = text.strip().rsplit("_", 1)[1]
    assert secret not in done.err
    assert "reader of default, writer of rides" in done.err
    for command in (["token", "list"], ["token", "list", "--json"], ["audit", "list"], ["audit", "list", "--json"]):
        shown = tiffin(*command)
        assert "ci" in shown.out
        assert secret not in shown.out + shown.err
    assert all(secret.encode() not in path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_machines_get_one_document(tiffin: Tiffin, home: Path) -> None:
    made = tiffin("token", "create", "ci", "--role", "*=admin", "--expires", "30d", "--json").json
    assert made["roles"] == {"*": "admin"}
    assert made["token"].split("_")[1] == made["id"]
    left = clock.to_micros(made["expires"]) - clock.now()
    assert 29.9 < left / 86_400_000_000 <= 30
    [listed] = tiffin("token", "list", "--json").json
    assert "token" not in listed
    assert "hash" not in listed
    assert listed["state"] == "valid"


def test_a_token_is_revoked_by_its_id_or_by_itself(tiffin: Tiffin, home: Path) -> None:
    first, second = created(tiffin, "a", "-r", "default=reader"), created(tiffin, "b", "-r", "default=reader")
    tiffin("token", "revoke", first.split("_")[1])
    done = tiffin("token", "revoke", second)
    assert second.rsplit("_", 1)[1] not in done.out + done.err
    assert [each["state"] for each in tiffin("token", "list", "--json").json] == ["revoked", "revoked"]
    failed = tiffin("token", "revoke", "0123456789ab", code=1)
    assert "0123456789ab" in failed.err
    assert "tiffin token list" in failed.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["ci", "--role", "default"],
        ["ci", "--role", "default=owner"],
        ["ci", "--role", "default=reader", "--role", "default=admin"],
        ["root@host", "--role", "default=reader"],
        ["ci", "--role", "default=reader", "--expires", "-1d"],
        ["ci", "--role", "default=reader", "--expires", "yesterday"],
        ["ci", "--role", "default=reader", "--expires", "2020-01-01"],
        ["ci", "--role", "default=reader", "--expires", "999999999w"],
        ["ci", "--role", "a b=reader"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_makes_no_token(tiffin: Tiffin, home: Path, arguments: list[str]) -> None:
    tiffin("token", "create", *[each for each in arguments if each != "-1d"], *(["-1d"] * ("-1d" in arguments)), code=1)
    assert tiffin("token", "list", "--json").json == []


def test_a_token_needs_a_role(tiffin: Tiffin, home: Path) -> None:
    tiffin("token", "create", "ci", code=2)


def test_the_log_is_asked_by_who_what_where_and_when(tiffin: Tiffin, home: Path) -> None:
    tiffin("projects", "create", "rides")
    created(tiffin, "a", "-r", "rides=reader")
    created(tiffin, "b", "-r", "default=reader")
    actions = [each["action"] for each in tiffin("audit", "list", "--project", "rides", "--json").json]
    assert actions == ["create token", "create project"]
    assert len(tiffin("audit", "list", "--action", "create token", "--json").json) == 2
    assert tiffin("audit", "list", "--principal", "nobody", "--json").json == []
    assert tiffin("audit", "list", "--denied", "--json").json == []
    assert len(tiffin("audit", "list", "--since", "1h", "--limit", "1", "--json").json) == 1
    assert tiffin("audit", "list", "--since", "2100-01-01", "--json").json == []
    assert "No events." in tiffin("audit", "list", "--denied").out
    tiffin("audit", "list", "--since", "soon", code=1)


def test_all_of_it_through_the_registry_service(tiffin: Tiffin, core: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    root = created(tiffin, "root", "-r", "*=admin")
    until(lambda: core.request("GET", "/api/v1/whoami", headers={"Authorization": f"Bearer {root}"}).status_code == 200)
    monkeypatch.setenv("TIFFIN_CORE_URL", core.url)
    assert "no credentials" in tiffin("token", "list", code=1).err
    monkeypatch.setenv("TIFFIN_AUTH_TOKEN", root)
    assert [each["name"] for each in tiffin("token", "list", "--json").json] == ["root"]
    rides = tiffin("token", "create", "boss", "-r", "rides=admin", "--expires", "1h", "--json").json
    assert rides["created_by"] == "root"
    monkeypatch.setenv("TIFFIN_AUTH_TOKEN", rides["token"])
    small = tiffin("token", "create", "small", "-r", "rides=reader", "--json").json
    assert "needs the role admin" in tiffin("token", "create", "more", "-r", "*=reader", code=1).err
    assert {each["name"] for each in tiffin("token", "list", "--json").json} == {"boss", "small"}
    assert "needs the role admin" in tiffin("audit", "list", code=1).err
    mine = tiffin("audit", "list", "--project", "rides", "--json").json
    assert [(each["principal"], each["action"]) for each in mine if not each["denied"]] == [
        ("boss", "create token"),
        ("root", "create token"),
    ]
    tiffin("token", "revoke", small["id"])
    monkeypatch.setenv("TIFFIN_AUTH_TOKEN", small["token"])
    assert "not valid" in tiffin("token", "list", code=1).err
    for token in (root, rides["token"], small["token"]):
        assert token.rsplit("_", 1)[1] not in core.log


def test_no_secret_leaves_a_failing_command(tiffin: Tiffin, home: Path, tmp_path: Path) -> None:
    """A traceback, an error and --json errors of a command that was given a token by the environment."""
    text = created(tiffin, "ci", "-r", "default=reader")
    os.environ["TIFFIN_AUTH_TOKEN"] = text
    os.environ["TIFFIN_CORE_URL"] = "127.0.0.1:1"
    try:
        done = in_own_process("token", "list", "--json")
        assert done.code == 1
        assert text.rsplit("_", 1)[1] not in done.out + done.err
        shown = tiffin("config", "list", "--json")
        assert text.rsplit("_", 1)[1] not in shown.out
        assert "****" in shown.out
    finally:
        del os.environ["TIFFIN_AUTH_TOKEN"], os.environ["TIFFIN_CORE_URL"]


def test_spans_and_instants() -> None:
    from tiffin.cli.token import instant

    now = clock.now()
    assert abs(instant("90s", field="x", ahead=True) - now - 90_000_000) < 1_000_000
    assert abs(instant("2w", field="x", ahead=False) - now + 14 * 86_400_000_000) < 1_000_000
    assert instant("2026-01-01", field="x", ahead=True) == clock.to_micros("2026-01-01")
    for wrong in ("", "5", "5y", "1d2h", "d"):
        with pytest.raises(InvalidArgument):
            instant(wrong, field="x", ahead=True)
