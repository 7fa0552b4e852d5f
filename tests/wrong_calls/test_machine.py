"""What the machine does wrong: no permission, a full disk, files that are not what they were.

Each case runs in a process of its own, so that limits and identities end with it. It prints the error as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wrong_calls.world import World, build

NOBODY = 65534
SCRIPT = """
import json, os, resource, signal, sys
from tests.wrong_calls.world import batch, asked
from tiffin import Client, Entity
from tiffin.errors import TiffinError

home, call, limit, user = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
if user:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
calls = {
    "apply": lambda c: c.apply(Entity("boat")),
    "ingest": lambda c: c.ingest("trips", batch()),
    "push": lambda c: c.push("trips", batch()),
    "many": lambda c: c.ingest("trips", batch().select(pl.all().repeat_by(100_000).explode())),
    "train": lambda c: c.get_historical_features(["trips:rating"], asked()).to_polars(),
    "output": lambda c: c.get_historical_features(["trips:rating"], asked()).get_output_file_uri(),
    "read": lambda c: c.get_online_features(["trips:rating"], [{"driver_id": 1001}]),
    "list": lambda c: c.list_feature_tables(),
    "materialize": lambda c: c.materialize("trips"),
}
import polars as pl
client = Client(home=home)
try:
    calls[call](client)
except TiffinError as error:
    print(json.dumps({"kind": type(error).__name__, "status": error.status, "text": str(error), "hint": error.hint}))
else:
    print(json.dumps({"kind": "none"}))
"""


@pytest.fixture
def world() -> Iterator[World]:
    """A store in a folder that another user can reach, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="tiffin-machine-"))
    folder.chmod(0o755)
    world = build(folder / "home", folder / "files")
    world.client.close()
    yield world
    shutil.rmtree(folder)


def run(world: World, call: str, *, limit: int = 0, user: int = 0, home: Path | None = None) -> dict:
    """One call in a process of its own, with a limit on the size of files in bytes, or as another user."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(home or world.folder), call, str(limit), str(user)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=120,
    )
    assert done.returncode == 0, f"the process ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def check(answer: dict, *words: str) -> None:
    assert answer["kind"] in {"StorageError", "CorruptData", "InvalidConfig", "JobFailed", "PermissionDenied"}, answer
    for word in words:
        assert word in answer["text"], answer
    assert answer["hint"], answer


def intact(world: World, before: dict[str, object]) -> None:
    """Nothing that was there has changed, and no row was added. Orphans that no commit names do not count."""
    after = world.everything()
    assert {name: after.get(name) for name in before} == before
    added = [name for name in after.keys() - before.keys() if "_delta_log" in name or "dead_letters" in name]
    assert not added


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("call", ["apply", "ingest", "push", "materialize"])
def test_a_folder_that_may_only_be_read(world: World, call: str) -> None:
    before = world.everything()
    check(run(world, call, user=NOBODY), str(world.folder))
    intact(world, before)


@pytest.mark.parametrize("call", ["ingest", "push"])
def test_a_disk_that_takes_no_more(world: World, call: str) -> None:
    before = world.everything()
    check(run(world, call, limit=256), "trips")
    intact(world, before)


def test_a_disk_that_fills_in_the_middle_of_a_batch(world: World) -> None:
    before = world.everything()
    check(run(world, "many", limit=20_000), "trips")
    intact(world, before)
    assert run(world, "ingest")["kind"] == "none"  # once there is room


@pytest.mark.parametrize("call", ["list", "ingest"])
def test_a_home_that_is_a_file(world: World, call: str) -> None:
    home = world.folder.parent / "file"
    home.write_text("a file")
    check(run(world, call, home=home), str(home))
    assert home.read_text() == "a file"


@pytest.mark.parametrize("call", ["list", "apply", "read"])
def test_a_registry_that_is_not_a_database(world: World, call: str) -> None:
    path = world.folder / "registry.db"
    for extra in world.folder.glob("registry.db-*"):
        extra.unlink()
    path.write_bytes(b"not a database at all, " * 500)
    check(run(world, call), "registry.db")
    assert path.read_bytes() == b"not a database at all, " * 500


@pytest.mark.parametrize("call", ["read", "materialize"])
def test_an_online_store_that_is_not_one(world: World, call: str) -> None:
    path = world.folder / "online" / "data.mdb"
    path.write_bytes(b"not a database at all, " * 5000)
    check(run(world, call), "online")


@pytest.mark.parametrize("call", ["train", "materialize"])
def test_a_parquet_file_that_was_cut(world: World, call: str) -> None:
    [path] = [each for each in (world.folder / "trips").rglob("*.parquet") if "_delta_log" not in str(each)]
    path.write_bytes(path.read_bytes()[:100])
    check(run(world, call), "trips")


def test_a_parquet_file_that_is_gone(world: World) -> None:
    [path] = [each for each in (world.folder / "trips").rglob("*.parquet") if "_delta_log" not in str(each)]
    path.unlink()
    check(run(world, "train"), "trips")


@pytest.mark.parametrize("call", ["train", "ingest"])
def test_a_log_that_cannot_be_read(world: World, call: str) -> None:
    entry = sorted((world.folder / "trips" / "_delta_log").glob("*.json"))[0]
    entry.write_text("{not json")
    check(run(world, call), "trips")
    assert entry.read_text() == "{not json"
