"""Messages of a stream, in both stores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.ingest.lakes import log, stored
from tests.ingest.routes import ID, SECOND, A, B
from tests.ingest.streams import GROUP, NOW, TOPIC, Scene, feed_in, message
from tiffin import KafkaSource, clock
from tiffin.data_format import JsonFormat
from tiffin.definitions.schema import Column
from tiffin.errors import FailedPrecondition, InvalidDefinition, NotFound, StorageError, Unavailable
from tiffin.ingest.materialize import commits_waiting, materialize_incremental
from tiffin.online.base import WriteResult
from tiffin.online.layout import BIAS
from tiffin.types import ValueType


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


def test_messages_are_in_both_stores(scene: Scene) -> None:
    scene.send(message(1, NOW - 9, 10), message(2, NOW - 8, 20), message(1, NOW - 7, 30))
    control = scene.drain()
    assert scene.offline() == [10, 20, 30]
    assert scene.online() == {1: NOW - 7, 2: NOW - 8}
    assert control.seen == (2, 1, 0)
    assert control.state == (3, 3)
    assert scene.broker.committed(GROUP) == {f"{TOPIC}/0": 3}


def test_a_restart_goes_on_where_the_last_one_ended(scene: Scene) -> None:
    scene.send(message(1, NOW - 9, 10))
    scene.drain()
    scene.send(message(1, NOW - 8, 11))
    scene.drain()
    assert scene.offline() == [10, 11]
    assert scene.online() == {1: NOW - 8}


def test_the_offsets_of_the_history_win(scene: Scene) -> None:
    scene.send(message(1, NOW - 9, 10), message(1, NOW - 8, 11))
    scene.drain()
    scene.broker.groups[GROUP].offsets.clear()
    scene.send(message(1, NOW - 7, 12))
    scene.drain()
    assert scene.offline() == [10, 11, 12]


def test_what_a_push_or_materialisation_has_not_brought_is_not_waited_for(scene: Scene) -> None:
    scene.send(message(1, NOW - 9, 10))
    scene.drain()
    assert commits_waiting(scene.route, scene.feed.table) == 0
    assert materialize_incremental(scene.route, scene.feed.table) == WriteResult(1)  # the first has no mark to follow
    scene.send(message(2, NOW - 9, 10))
    scene.drain()
    assert commits_waiting(scene.route, scene.feed.table) == 0
    assert materialize_incremental(scene.route, scene.feed.table) == WriteResult()


def test_poison_and_invalid_messages_are_set_aside_and_the_stream_goes_on(scene: Scene) -> None:
    late = clock.now() + 3_600 * SECOND
    scene.send(message(1, NOW - 9, 10), b"{not json", message(None, NOW - 8, 1), None, message(2, late, 1))
    scene.send(message(3, NOW - 7, "text"), message(4, NOW - 6, 40))
    control = scene.drain()
    assert scene.offline() == [10, 40]
    assert scene.online() == {1: NOW - 9, 4: NOW - 6}
    assert control.seen == (2, 0, 5)
    letters = scene.letters().sort("_offset")
    assert letters["_offset"].to_list() == [1, 2, 3, 4, 5]
    assert letters["_topic"].unique().to_list() == [TOPIC]
    assert letters["_partition"].unique().to_list() == [0]
    assert letters["_payload"][0] == b"{not json"
    assert letters["_timestamp"][0] == clock.to_datetime(NOW)
    reasons = letters["_reason"].to_list()
    assert "k: the key 'k' is null" in reasons[1]
    assert "no value" in reasons[2]
    assert "lies in the future" in reasons[3]
    assert "a:" in reasons[4]
    assert letters["k"].to_list() == [None, None, None, 2, None]  # what could be read stands beside it


def test_a_topic_of_poison_alone_makes_no_table(scene: Scene) -> None:
    scene.send(b"x", b"y")
    scene.drain()
    assert not (scene.folder / "history").exists()
    assert scene.letters().height == 2
    scene.send(message(1, NOW - 9, 10))
    scene.drain()
    assert scene.offline() == [10]
    assert scene.letters().height == 2


def test_poison_after_rows_moves_the_offsets_of_the_history(scene: Scene) -> None:
    scene.send(message(1, NOW - 9, 10))
    scene.drain()
    scene.send(b"x")
    scene.drain()
    scene.broker.groups[GROUP].offsets.clear()
    scene.send(message(1, NOW - 8, 11))
    scene.drain()
    assert scene.offline() == [10, 11]
    assert scene.letters().height == 1


def test_the_brokers_time_stands_for_a_creation_time_that_is_missing(scene: Scene) -> None:
    scene.send(message(1, NOW - 9, 1, made=clock.to_iso(NOW + 5)))
    scene.send(message(1, NOW - 9, 2), timestamp=NOW + 4)
    scene.send(message(1, NOW - 9, 3, made=None), timestamp=NOW + 3)
    scene.drain()
    made = stored(scene.folder / "history")["made"].to_list()
    assert made == [clock.to_datetime(NOW + 5 - n) for n in range(3)]


def test_deletions(tmp_path: Path) -> None:
    scene = Scene(tmp_path, feed_in(tmp_path, deleted_column="gone"))
    scene.send(message(1, NOW - 9, 10), message(2, NOW - 9, 20), message(1, NOW - 8, None, gone=True))
    scene.drain()
    assert scene.online() == {1: None, 2: NOW - 9}
    scene.close()


def test_a_message_without_a_feature_has_null_whatever_its_neighbours(scene: Scene) -> None:
    bare = b'{"k": 1, "at": "2026-01-01T00:00:00Z"}'
    scene.send(bare)
    scene.drain()
    scene.send(bare, message(2, NOW - 9, 1))
    scene.drain()
    assert scene.offline() == [None, None, 1]


def test_sources_that_map_columns_differently(tmp_path: Path) -> None:
    feed = feed_in(tmp_path, features=(Column("a", ValueType.INT64, "b_a"), B))
    source = KafkaSource("when", "127.0.0.1:1", JsonFormat(), TOPIC, "", {"a": "x + 1", "b": "y"})
    scene = Scene(tmp_path, replace(feed, source=source))
    scene.send(b'{"k": 1, "when": "2026-01-01T00:00:00Z", "x": 41, "y": 0.5}')
    scene.drain()
    row = stored(tmp_path / "history").row(0, named=True)
    assert (row["k"], row["b_a"], row["b"], row["at"]) == (1, 42, 0.5, clock.to_datetime(1_767_225_600_000_000))
    assert row["made"] == clock.to_datetime(NOW)
    scene.close()


@pytest.mark.parametrize(
    ("batch", "stream"),
    [({"a": "x * 2"}, {"a": "y"}), ({"a": "c", "b": "c"}, {"a": "x", "b": "y"})],
    ids=["computed in the history", "two in one column"],
)
def test_sources_that_cannot_be_brought_together(tmp_path: Path, batch: dict[str, str], stream: dict[str, str]) -> None:
    columns = tuple(Column(name, ValueType.INT64, batch.get(name, name)) for name in ("a", "b"))
    feed = feed_in(tmp_path, features=columns)
    scene = Scene(tmp_path, replace(feed, source=KafkaSource("at", "x:1", JsonFormat(), TOPIC, "made", stream)))
    with pytest.raises(InvalidDefinition, match=r"of the stream|in the stream"):
        scene.consumer().run()
    scene.close()


def test_online_alone_is_ranked_by_the_message_itself(tmp_path: Path) -> None:
    scene = Scene(tmp_path, feed_in(tmp_path, to_offline=False))
    scene.send(message(1, NOW - 9, 10, made=None), message(1, NOW - 9, 11), b"x")
    scene.drain()
    assert not (tmp_path / "history").exists()
    before = dict(scene.store.scan(ID))
    scene.broker.groups[GROUP].offsets.clear()
    control = scene.drain()
    assert dict(scene.store.scan(ID)) == before
    assert control.seen[0] + control.seen[1] == 2
    assert scene.letters().height == 1
    [value] = before.values()
    ingested_at, row = (int.from_bytes(value[at : at + 8], "big") - BIAS for at in (16, 24))
    assert (ingested_at, row) == (NOW, 1)
    scene.close()


def test_what_is_away_is_waited_for(scene: Scene) -> None:
    scene.send(message(1, NOW - 9, 10))
    scene.broker.down = True
    with scene.running() as control:
        eventually(lambda: bool(control.lines))
        assert "waiting, nothing is lost: The broker in memory is down." in control.lines[0]
        scene.broker.down = False
        eventually(scene.is_drained)
    assert control.lines[-1] == "going on"
    assert scene.offline() == [10]


@pytest.mark.parametrize("kind", [Unavailable, StorageError])
def test_an_online_store_that_is_away_loses_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    scene.send(message(1, NOW - 9, 10), message(2, NOW - 9, 20))
    plain = scene.store.write
    failures = iter(range(3))

    def write(*given: object, **options: object) -> WriteResult:
        if next(failures, None) is not None:
            raise kind("away")
        return plain(*given, **options)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(scene.store, "write", write)
    scene.drain()
    assert scene.offline() == [10, 20]
    assert scene.online() == {1: NOW - 9, 2: NOW - 9}


def test_a_topic_that_is_not_there_is_an_error(scene: Scene) -> None:
    def elsewhere(_: object, on_assign: object, on_revoke: object) -> object:
        return scene.broker.open_source("other", group="o", on_assign=on_assign, on_revoke=on_revoke)  # type: ignore[arg-type]  # handed through

    with pytest.raises(NotFound, match="There is no topic 'other'"):
        scene.consumer(source=elsewhere).run()


def test_a_stored_type_that_cannot_hold_the_declared_is_an_error(scene: Scene) -> None:
    scene.send(message(1, NOW - 9, 10))
    scene.drain()
    scene.feed = feed_in(scene.folder, features=(Column("a", ValueType.STRING, "a"),))
    scene.send(message(1, NOW - 8, "text"))
    with pytest.raises(FailedPrecondition, match="is stored as Int64"):
        scene.drain()
    scene.feed = feed_in(scene.folder, features=(A, Column("c", ValueType.STRING, "a")))
    assert scene.offline() == [10]


def test_a_definition_that_changes_is_followed(scene: Scene) -> None:
    with scene.running() as control:
        scene.send(message(1, NOW - 9, 10, b=0.5))
        eventually(scene.is_drained)
        scene.feed = feed_in(scene.folder, features=(A, B))
        eventually(lambda: any("definition has changed" in line for line in control.lines))
        scene.send(message(1, NOW - 8, 11, b=1.5))
        eventually(scene.is_drained)
    assert stored(scene.folder / "history").select("a", "b").rows() == [(10, None), (11, 1.5)]


def test_an_empty_poll_commits_nothing(scene: Scene) -> None:
    scene.send(message(1, NOW - 9, 10))
    with scene.running():
        eventually(scene.is_drained)
        time.sleep(0.2)
    assert len(log(scene.folder / "history")) == 2


def eventually(holds: Callable[[], bool], patience: float = 10.0) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)
