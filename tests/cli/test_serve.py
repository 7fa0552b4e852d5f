"""``tiffin serve`` and ``tiffin up``: what they say, what they refuse, how they end; and the commands against them."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trustme

from tests.cli.conftest import Tiffin
from tests.servers.process import free_port, listens
from tests.servers.services import PROGRAM, Service, running
from tiffin import Client, errors

DEFINITIONS = """
from tiffin import Entity, Feature, FeatureTable, ValueType

driver = Entity("driver", value_type=ValueType.INT64)
trips = FeatureTable("trips", ["driver"], [Feature("n", ValueType.INT64)])
"""


def program(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
    """Stop it; its exit code and what it wrote on stderr."""
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    return process.returncode, said


@pytest.mark.parametrize("what", ["core", "online"])
def test_a_service_says_where_it_listens_and_on_what_it_stands(tmp_path: Path, what: str) -> None:
    process = program(tmp_path, "serve", what, "--port", "0")
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    lines += [process.stdout.readline() for _ in range(3 if what == "core" else 4)]
    url = lines[0].split()[-1]
    assert lines[0].startswith(f"tiffin {what} ")
    assert url.startswith("http://127.0.0.1:")
    said = "".join(lines)
    assert str(tmp_path / ".tiffin") in said
    assert "everyone who reaches it" in said
    with urllib.request.urlopen(f"{url}/health", timeout=10) as answer:
        assert answer.status == 200
    code, said = ended(process)
    assert code == 0, said


def test_for_machines_it_says_so_in_one_line_of_json(tmp_path: Path) -> None:
    process = program(tmp_path, "serve", "core", "--port", "0", "--json", TIFFIN_AUTH="tokens")
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    assert told.keys() == {"service", "version", "url", "registry", "access", "workers"}
    assert (told["service"], told["access"], told["workers"]) == ("core", "tokens", 1)
    assert ended(process, signal.SIGTERM)[0] == 0


def test_a_password_of_the_database_is_not_told(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:hunter2@127.0.0.1:1/features"
    process = program(tmp_path, "serve", "core", "--port", "0", "--json", TIFFIN_REGISTRY=url)
    assert process.stdout is not None
    told = process.stdout.readline()
    code, said = ended(process)
    assert "hunter2" not in told + said
    assert "me:****@" in told
    assert code == 0, said


@pytest.mark.parametrize("what", ["core", "online"])
def test_everyone_is_not_answered_by_oversight(tiffin: Tiffin, what: str) -> None:
    outcome = tiffin("serve", what, "--host", "0.0.0.0", "--json", code=1)
    assert (outcome.error["code"], outcome.error["field"]) == ("invalid_config", "auth")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("--tls-cert", "tls.crt"), "tls_key"),
        (("--tls-cert", "tls.crt", "--tls-key", "tls.key"), "tls_cert"),
        (("--auth", "magic"), "auth"),
    ],
)
def test_what_cannot_be_served(tiffin: Tiffin, arguments: tuple[str, ...], field: str) -> None:
    assert tiffin("serve", "core", *arguments, "--json", code=1).error["field"] == field


def test_a_port_that_is_taken(tmp_path: Path, tiffin: Tiffin) -> None:
    with running(core := Service("core", tmp_path / "core")):
        outcome = tiffin("serve", "core", "--port", str(core.port), "--json", code=1)
    assert str(core.port) in outcome.error["message"]


def test_tls_is_served_from_files(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.crt")
    files = ("--tls-cert", str(tmp_path / "tls.crt"), "--tls-key", str(tmp_path / "tls.key"))
    options = {"home": str(tmp_path / "client"), "core_server_ssl_cert": str(tmp_path / "ca.pem")}
    with running(core := Service("core", tmp_path / "core", *files, tls=True)):
        assert core.told()["url"] == f"https://{core.address}"
        with Client(options, core_url=core.address, core_enable_ssl=True) as client:
            assert client.list_projects() == ["default"]
        with (
            Client(home=options["home"], core_url=f"https://{core.address}") as client,
            pytest.raises(errors.Unavailable, match="not trusted"),
        ):
            client.list_projects()
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        with urllib.request.urlopen(f"https://{core.address}/health", timeout=10, context=context) as answer:
            assert answer.status == 200


def test_several_workers_share_a_port_and_one_that_dies_is_replaced(tmp_path: Path) -> None:
    with running(online := Service("online", tmp_path / "online", "--workers", "2")):
        supervisor = psutil.Process(online.pid)
        before = {child.pid for child in supervisor.children()}
        assert len(before) == 2
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while (now := {child.pid for child in supervisor.children()}) & {killed} or len(now) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert online.answers()
        assert online.stop() == 0


class TestUp:
    def test_both_services_over_one_home(self, tmp_path: Path) -> None:
        arguments = ("up", "--core-port", "0", "--online-port", "0", "--json")
        other = {"TIFFIN_CORE_URL": "elsewhere:1", "TIFFIN_REDIS_HOST": "elsewhere:2"}
        process = program(tmp_path, *arguments, **other)
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        try:
            options = {"core_url": told["core"], "serving_url": told["online"], "home": str(tmp_path / "client")}
            assert told["home"] == str(tmp_path / ".tiffin")
            with Client(options) as client:
                versions = client.version()
                assert versions["core"]["version"] == versions["serving"]["version"]
        finally:
            code, said = ended(process)
        assert code == 0, said
        assert not any(listens(int(told[name].rpartition(":")[2])) for name in ("core", "online"))

    def test_for_people(self, tmp_path: Path) -> None:
        process = program(tmp_path, "up", "--core-port", "0", "--online-port", "0")
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        assert [line.split()[0] for line in lines] == ["core", "online", "home", "Clients:", "Ctrl-C"]
        assert ended(process, signal.SIGTERM)[0] == 0

    def test_one_that_cannot_start_ends_the_other(self, tmp_path: Path) -> None:
        with running(taken := Service("core", tmp_path / "core")):
            process = program(tmp_path, "up", "--core-port", "0", "--online-port", str(taken.port))
            _, said = process.communicate(timeout=30)
        assert process.returncode == 1
        assert "online service did not start" in said


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Service]]:
    """Both over one home, as ``tiffin up`` has them."""
    home = tmp_path_factory.mktemp("shared")
    core = Service("core", home)
    online = Service("online", home / "work", home=home)
    with running(core, online):
        yield core, online


class TestCommands:
    """The commands of a client whose settings name services."""

    @pytest.fixture
    def typed(
        self, services: tuple[Service, Service], tiffin: Tiffin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Tiffin:
        core, online = services
        settings = {
            "core_url": core.address,
            "serving_url": online.address,
            "offline_location": str(
                core.told()["registry"].removeprefix("sqlite:///").replace("registry.db", "offline")
            ),
            "home": str(tmp_path / "client"),
        }
        for name, value in settings.items():
            monkeypatch.setenv(f"TIFFIN_{name.upper()}", value)
        return tiffin

    def test_the_way_of_a_table(self, typed: Tiffin, tmp_path: Path) -> None:
        (tmp_path / "features.py").write_text(DEFINITIONS)
        (tmp_path / "rows.csv").write_text(
            "driver,n,event_timestamp\n1,10,2024-09-01T00:00:00Z\n2,,2024-09-01T00:00:00Z\n"
        )
        (tmp_path / "asked.csv").write_text("driver,event_timestamp\n1,2024-09-02T00:00:00Z\n")
        where = str(tmp_path / "features.py")
        assert typed("plan", "-f", where, "--json").json["changes"]
        typed("apply", "-f", where)
        assert [each["spec"]["name"] for each in typed("feature-tables", "list", "--json").json] == ["trips"]
        assert typed("search", "trips", "--json").json
        assert typed("projects", "list", "--json").json
        time.sleep(1)  # the online service looks at the registry twice a second
        assert typed("push", "trips", str(tmp_path / "rows.csv"), "--json").json["rows"] == 2
        found = typed("get-online-features", "-f", "trips:n", "-k", "driver=1,2,3", "--json").json
        assert json.dumps(found).count("PRESENT") >= 1
        built = typed(
            "get-historical-features",
            "-f",
            "trips:n",
            "-e",
            str(tmp_path / "asked.csv"),
            "-o",
            str(tmp_path / "out"),
            "--json",
        )
        assert built.json
        jobs = typed("jobs", "list", "--json").json
        assert [job["status"] for job in jobs] == ["COMPLETED"]
        assert typed("jobs", "show", jobs[0]["id"], "--json").json["id"] == jobs[0]["id"]
        assert typed("feature-tables", "history", "trips", "--json").json
        assert not (tmp_path / "client" / "online").exists()

    def test_a_dump_of_the_service_fills_a_registry(self, typed: Tiffin, tmp_path: Path) -> None:
        typed("projects", "create", "rides")
        dumped = typed("registry", "dump", str(tmp_path / "all.jsonl"), "--json").json
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("TIFFIN_CORE_URL")
            there = ("--home", str(tmp_path / "copy"), "--json")
            assert (
                typed("registry", "load", str(tmp_path / "all.jsonl"), *there).json["revisions"] == dumped["revisions"]
            )
            assert "rides" in json.dumps(typed("projects", "list", *there).json)

    def test_what_only_the_service_can_do(self, typed: Tiffin, tmp_path: Path) -> None:
        (tmp_path / "x.jsonl").write_text("")
        for command in (("registry", "migrate"), ("registry", "load", str(tmp_path / "x.jsonl"))):
            assert typed(*command, "--json", code=1).error["field"] == "core_url"

    def test_versions_of_the_services(self, typed: Tiffin, services: tuple[Service, Service]) -> None:
        told = typed("version", "--json").json
        assert told["core"] == told["serving"] == told["tiffin"]

    def test_a_service_that_is_down(self, tiffin: Tiffin, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TIFFIN_CORE_URL", f"127.0.0.1:{free_port()}")
        outcome = tiffin("entities", "list", "--json", code=1)
        assert (outcome.error["code"], outcome.error["field"]) == ("unavailable", "core_url")
