"""Erasure against writers at work: in other processes, with what they knew before, and cut off anywhere."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.erasing import KEY, filled, history, holding, rides, values
from tiffin import Client
from tiffin.errors import StorageError
from tiffin.ingest.erased import Guard
from tiffin.offline import commit_log, expunge
from tiffin.online.lmdb import LmdbStore

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.ingest.erasing"])


def _writer(home: Path, number: int, pipe: Connection) -> None:
    """Push the key among others, and materialise, again and again, until told to stop; tell what went out erased."""
    client = Client(home=str(home))
    pipe.send("ready")
    round_, dropped = 0, 0
    while not pipe.poll():
        round_ += 1
        done = client.push("rides", rides(KEY, f"w{number}-{round_}"))
        dropped += done.erased
        if round_ % 3 == 0:
            client.materialize("rides")
    pipe.send((round_, dropped))
    client.close()


@pytest.mark.serial
def test_writers_in_other_processes_do_not_bring_a_key_back(tmp_path: Path) -> None:
    client = filled(tmp_path)
    writers = []
    for number in range(3):
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_writer, args=(tmp_path, number, theirs))
        process.start()
        writers.append((process, ours))
    for _, pipe in writers:
        assert pipe.poll(60)
        assert pipe.recv() == "ready"
    time.sleep(1.0)
    report = client.erase("rider", KEY)
    assert report.state == "DONE"
    assert report.removed["offline rides"] > 0
    time.sleep(1.0)
    for _, pipe in writers:
        pipe.send("stop")
    told = [pipe.recv() if pipe.poll(60) else None for _, pipe in writers]
    for process, _ in writers:
        process.join(60)
    assert all(dropped > 0 for _, dropped in told)  # they went on with the key, and it was left out
    client.materialize("rides")
    assert holding(tmp_path) == []
    kept = history(client)
    assert all(f"w{number}-{n + 1}" in kept for number, (rounds, _) in enumerate(told) for n in range(rounds))
    client.close()


def test_a_batch_that_was_chosen_before_the_erasure_is_chosen_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = filled(tmp_path)
    eraser = Client(home=str(tmp_path))
    written = commit_log.write_parts

    def write_then_erase(*given: Any) -> Any:
        parts = written(*given)
        monkeypatch.setattr(commit_log, "write_parts", written)
        eraser.erase("rider", KEY)  # everything of it happens between the batch's files and its commit
        return parts

    monkeypatch.setattr(commit_log, "write_parts", write_then_erase)
    done = client.push("rides", rides(KEY, "zz"))
    assert (done.rows, done.erased) == (1, 1)
    assert holding(tmp_path) == []
    client.materialize_incremental("rides")
    assert values(client, KEY, "zz") == [None, 1.0]
    eraser.close()
    client.close()


def test_rows_on_their_way_to_the_online_store_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = filled(tmp_path)
    eraser = Client(home=str(tmp_path))
    write = LmdbStore.write

    def erase_then_write(store: LmdbStore, *given: Any, **options: Any) -> Any:
        monkeypatch.setattr(LmdbStore, "write", write)
        eraser.erase("rider", KEY)
        return write(store, *given, **options)

    monkeypatch.setattr(LmdbStore, "write", erase_then_write)
    client.materialize("rides")  # it has read the history, and is about to write
    assert values(client, KEY) == [None]
    eraser.erase("rider", KEY)  # the bytes of what was taken back
    assert holding(tmp_path) == []
    eraser.close()
    client.close()


def test_a_writer_that_never_asks_again_is_stopped_by_the_fences(tmp_path: Path) -> None:
    """A stream holds its table and what it knew for days: the places themselves tell it."""
    client = filled(tmp_path)
    workspace = client._workspace
    table, route = workspace.table("rides", "default"), workspace.route
    known = route.erased.known()
    guard = Guard(table, route.erased)
    assert guard.version == known.version
    with Client(home=str(tmp_path)) as eraser:
        eraser.erase("rider", KEY)
    workspace.registry._checked = float("inf")  # the snapshot stays what it is
    assert route.erased.known() is known
    frame = client.latest(["rides:x"]).to_polars()
    assert KEY not in frame["rider"].to_list()
    from tiffin.ingest.online_only import push_online

    options: dict[str, Any] = {"dead_letters": str(tmp_path / "dead"), "staging": str(tmp_path / "scratch")}
    assert push_online(route, table, rides(KEY, "aa"), max_skew=0, **options).erased == 1
    assert values(client, KEY) == [None]
    client.close()


@pytest.mark.parametrize("point", ["fence", "rewrite", "remove", "scrub", "online", "purge"])
def test_an_erasure_that_was_cut_off_is_taken_up_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    client = filled(tmp_path)
    with monkeypatch.context() as patch:
        _break(patch, point)
        report = client.erase("rider", KEY)
    assert report.state == "RUNNING"
    assert report.remaining
    [record] = client.list_erasures()
    assert record["state"] == "RUNNING"
    assert KEY not in str(record)
    assert client.push("rides", rides(KEY)).rows == 0  # the tombstone stands whatever else failed
    report = client.erase("rider", KEY)
    assert report.state == "DONE"
    assert holding(tmp_path) == []
    assert client.list_erasures()[0]["state"] == "DONE"
    client.close()


def test_recovery_takes_an_erasure_up_without_knowing_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = filled(tmp_path)
    with monkeypatch.context() as patch:
        _break(patch, "rewrite")
        _break(patch, "online")
        client.erase("rider", KEY)
    assert len(holding(tmp_path)) > 1
    client.repair()
    assert holding(tmp_path) == []
    assert client.list_erasures()[0]["state"] == "DONE"
    assert values(client, KEY, "aa") == [None, 0.0]
    client.close()


def _break(patch: pytest.MonkeyPatch, point: str) -> None:
    """Have one step of an erasure fail, as it does where its place goes away."""

    def away(*_: Any, **__: Any) -> Any:
        raise StorageError(f"The place of {KEY} is away.")

    steps: dict[str, tuple[Any, str]] = {
        "fence": (expunge, "set_fence"),
        "rewrite": (expunge, "rewrite"),
        "remove": (expunge, "remove"),
        "scrub": (expunge, "scrub"),
        "online": (LmdbStore, "delete"),
        "purge": (LmdbStore, "purge"),
    }
    patch.setattr(*steps[point], away)


def _erasing(home: Path, pipe: Connection) -> None:
    client = Client(home=str(home))
    pipe.send("ready")
    client.erase("rider", KEY)
    pipe.send("done")
    client.close()


@pytest.mark.parametrize("after", [0.03, 0.1, 0.25])
def test_an_eraser_that_is_killed_leaves_work_that_can_be_finished(tmp_path: Path, after: float) -> None:
    client = filled(tmp_path)
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_erasing, args=(tmp_path, theirs))
    process.start()
    assert ours.poll(60)
    ours.recv()
    time.sleep(after)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert sorted(set(history(client)) - {KEY}) == ["aa", "bb", "cc", "dd"]  # whole at any moment
    assert client.erase("rider", KEY).state == "DONE"
    assert holding(tmp_path) == []
    assert history(client) == ["aa", "bb", "cc", "dd"]
    assert values(client, "aa", "bb", "cc", "dd") == [0.0, 2.0, 0.0, 1.0]
    client.close()


def test_what_an_ingestion_left_that_was_killed_goes_too(tmp_path: Path) -> None:
    client = filled(tmp_path)
    area = tmp_path / "offline/default/rides/_tiffin/00000000000000000000000000000000"
    area.mkdir(parents=True)
    rides(KEY).write_parquet(area / "1")
    (area / "intent.json").write_bytes(b"")
    old = time.time() - 3600
    for path in (area / "1", area / "intent.json", area):
        os.utime(path, (old, old))
    draft = tmp_path / "dead_letters/default/rides/x/part-0.77.tmp"
    draft.parent.mkdir(parents=True)
    rides(KEY).write_parquet(draft)
    os.utime(draft, (old, old))
    scratch = tmp_path / "staging/spool-0/0.arrow"
    scratch.parent.mkdir(parents=True)
    rides(KEY).write_ipc(scratch, compression="uncompressed")
    os.utime(scratch, (old - 3600, old - 3600))
    assert client.erase("rider", KEY).state == "DONE"
    assert holding(tmp_path) == []
    client.close()
