"""What the machine does wrong: no permission, a full disk, files that are not what they were.

Each case runs in a process of its own, so that limits end with it. It prints the error as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wrong_calls.world import World, build

#: Root may write anywhere; without this capability it is held to the modes of its files like everybody else.
AS_OWNER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
SCRIPT = """
import json, resource, signal, sys
from tests.wrong_calls.world import batch, asked
from tiffin import Client, Entity
from tiffin.errors import TiffinError

home, call, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
def many():
    copies = batch().select(pl.all().repeat_by(100_000).explode())
    return copies.with_columns(rides=pl.int_range(200_000) * 7919 % 65_537)  # so that they take room

calls = {
    "apply": lambda c: c.apply(Entity("boat")),
    "ingest": lambda c: c.ingest("trips", batch()),
    "push": lambda c: c.push("trips", batch()),
    "ingest many": lambda c: c.ingest("trips", many()),
    "push many": lambda c: c.push("trips", many()),
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
def world(tmp_path: Path) -> World:
    """A store that each test may spoil."""
    world = build(tmp_path / "home", tmp_path / "files")
    world.client.close()
    return world


def run(world: World, call: str, *, limit: int = 0, home: Path | None = None) -> dict:
    """One call in a process of its own, with a limit on the size of files in bytes."""
    done = subprocess.run(
        [*AS_OWNER, sys.executable, "-c", SCRIPT, str(home or world.folder), call, str(limit)],
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


@pytest.fixture
def read_only(world: World) -> Iterator[World]:
    """The store, where nothing may be written."""
    everything = [world.folder, *world.folder.rglob("*")]
    modes = [path.stat().st_mode for path in everything]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield world
    for path, mode in zip(everything, modes, strict=True):
        path.chmod(mode)


@pytest.mark.parametrize("call", ["apply", "ingest", "push", "materialize"])
def test_a_folder_that_may_only_be_read(read_only: World, call: str) -> None:
    before = read_only.everything()
    check(run(read_only, call), str(read_only.folder))
    intact(read_only, before)


@pytest.mark.parametrize("call", ["ingest many", "push many"])
def test_a_disk_that_is_full_in_the_middle_of_a_batch(world: World, call: str) -> None:
    before = world.everything()
    check(run(world, call, limit=100_000), "trips")
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
