"""Ingestion killed at random moments: what a reader finds then, and what it finds once the work was tried again."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import polars as pl

from tests.ingest.lakes import FEATURES, data_files, drivers, live_files, put, rows, stored
from tiffin.offline import area

#: The children are forked from a process that has everything imported, so that a kill costs little.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.ingest.killing"])

BATCHES = 4


def sizes(seed: int) -> list[int]:
    """How many rows each batch of a run has: its days are several files. The last one only a sweeping run adds."""
    return [random.Random(seed * 31 + n).randint(1, 12) for n in range(BATCHES + 1)]


def child(folder: Path, seed: int, ready: Connection, sweep_all: bool) -> None:
    """Ingest every batch of a run under its key; those that are there already are left alone.

    A sweeping run takes whatever nobody holds for abandoned, however young, and adds a batch, since only that sweeps.
    """
    if sweep_all:
        area.ABANDONED_AFTER_S = 0.0
    ready.send("ready")
    for number, count in enumerate(sizes(seed)[: BATCHES + sweep_all]):
        # The third batch brings a new column, so that a change of the table's columns is killed too.
        batch, features = rows(count, first=100 * number), FEATURES
        if number < 2:
            batch, features = batch.drop("trips"), FEATURES[:1]
        put(drivers(folder, features=features), batch, folder.parent, idempotency_key=f"batch {number}")
    ready.send("done")


def start(
    folder: Path, seed: int, *, sweep_all: bool = False
) -> tuple[multiprocessing.process.BaseProcess, Connection]:
    """A child that is about to begin."""
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=child, args=(folder, seed, theirs, sweep_all))
    process.start()
    theirs.close()
    assert ours.poll(60)
    assert ours.recv() == "ready"
    return process, ours


def finish(folder: Path, seed: int, *, sweep_all: bool = False) -> float:
    """Run a child to its end; how long its work took, in seconds."""
    process, pipe = start(folder, seed, sweep_all=sweep_all)
    begin = time.monotonic()
    assert pipe.poll(120)
    assert pipe.recv() == "done"
    took = time.monotonic() - begin
    process.join()
    pipe.close()
    return took


def kill_and_recover(folder: Path, seed: int, *, span: float, kills: int = 2) -> int:
    """Kill children within ``span`` seconds of their start, look, and let one finish; how many batches were in place
    after the last kill."""
    moment = random.Random(seed)
    found = 0
    for _ in range(kills):
        process, pipe = start(folder, seed)
        pipe.poll(moment.uniform(0, 1.4 * span))  # no longer than its work takes, which other work may slow down
        process.kill()
        process.join()
        pipe.close()
        found = check_whole(folder, seed)
    finish(folder, seed, sweep_all=True)
    assert check_whole(folder, seed) == BATCHES + 1, f"seed {seed}: not every batch is there"
    assert sorted(data_files(folder)) == sorted(live_files(folder)), f"seed {seed}: orphans are left"
    assert not list((folder / area.AREA).iterdir()), f"seed {seed}: the staging area is not empty"
    return found


def check_whole(folder: Path, seed: int) -> int:
    """No half batch and no row twice, for whoever reads the log; whole files for whoever reads the folder."""
    for path in data_files(folder) if folder.exists() else []:
        pl.read_parquet(path, hive_partitioning=False)
    whole = stored(folder) if (folder / "_delta_log").exists() else pl.DataFrame()
    if whole.is_empty():
        return 0
    batches = Counter((key - 1001) // 100 for key in whole["driver_id"])
    expected = sizes(seed)
    for number, count in batches.items():
        assert count == expected[number], f"seed {seed}: batch {number} has {count} of {expected[number]} rows"
    assert whole["driver_id"].is_unique().all(), f"seed {seed}: a row is there twice"
    assert whole["_ingested_at"].n_unique() == len(batches), f"seed {seed}: two commits share an instant"
    return len(batches)


def run_seeds(home: Path, seeds: Sequence[int]) -> list[int]:
    """Try every seed; how many batches each had in place after its last kill."""
    span = min(finish(home / f"calibration{n}" / "lake", 0) for n in range(3))
    return [kill_and_recover(home / str(seed) / "lake", seed, span=span) for seed in seeds]
