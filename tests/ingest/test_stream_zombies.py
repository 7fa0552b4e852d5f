"""A consumer that lost its partitions without knowing, and others that go on meanwhile."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ingest.routes import SECOND
from tests.ingest.streams import NOW, Scene, message
from tests.ingest.test_stream import eventually
from tiffin.ingest.stream import Pace, StreamIngestion
from tiffin.ingest.stream_letters import LetterFiles
from tiffin.ingest.stream_offsets import StreamLog
from tiffin.stream.base import StreamSource
from tiffin.stream.memory import MemorySource


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


class Held:
    """A step of one thread that waits until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, of: type, name: str, *, before: bool) -> None:
        self.there = threading.Event()
        self.free = threading.Event()
        self.thread: threading.Thread | None = None
        plain = getattr(of, name)

        def step(*given: Any, **options: Any) -> Any:
            if threading.current_thread() is not self.thread or self.there.is_set():
                return plain(*given, **options)
            result = None if before else plain(*given, **options)
            self.there.set()
            assert self.free.wait(20)
            return plain(*given, **options) if before else result

        monkeypatch.setattr(of, name, step)


def consumer_of(scene: Scene, opened: list[MemorySource]) -> StreamIngestion:
    def source(*given: Any) -> StreamSource:
        opened.append(scene.open(*given))  # type: ignore[arg-type]  # the memory broker's
        return opened[-1]

    return scene.consumer(source=source)


@pytest.mark.parametrize(
    ("of", "name", "before"),
    [(LetterFiles, "write", False), (StreamLog, "append", True), (StreamLog, "append", False)],
    ids=["after its dead letters", "before the history", "after the history"],
)
def test_a_zombie_stores_nothing_twice(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, of: type, name: str, before: bool
) -> None:
    scene.pace = Pace(4, 0.01)
    scene.send(*(message(n % 3, NOW - SECOND + n, n) for n in range(3)), b"poison", message(1, NOW, 9), b"more")
    held = Held(monkeypatch, of, name, before=before)
    opened: list[MemorySource] = []
    with scene.running(consumer_of(scene, opened), named=held):
        assert held.there.wait(20)
        scene.pace = Pace(3, 0.01)  # whose batches are others
        successor: list[MemorySource] = []
        with scene.running(consumer_of(scene, successor)):
            eventually(lambda: bool(successor))
            opened[0].lose()
            eventually(scene.is_drained)
            held.free.set()
            scene.send(message(2, NOW, 10))
            eventually(scene.is_drained)
            eventually(lambda: len(scene.offline()) == 5)
    assert Counter(scene.offline()) == Counter([0, 1, 2, 9, 10])
    assert scene.online() == {0: NOW - SECOND, 1: NOW, 2: NOW}
    letters = scene.letters().unique(["_partition", "_offset"])
    assert sorted(letters["_offset"]) == [3, 5]


def test_partitions_that_move_in_the_middle_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path, partitions=2)
    for partition in range(2):
        scene.send(*(message(partition, NOW - SECOND + n, 100 * partition + n) for n in range(50)), partition=partition)
    scene.pace = Pace(10, 0.01)
    held = Held(monkeypatch, StreamLog, "append", before=False)
    with scene.running(named=held):
        assert held.there.wait(20)
        with scene.running():
            held.free.set()
            eventually(scene.is_drained)
    assert Counter(scene.offline()) == Counter([*range(50), *range(100, 150)])
    assert scene.online() == {0: NOW - SECOND + 49, 1: NOW - SECOND + 49}
    scene.close()
