"""Specs: jobs as plain data, read strictly, without secrets; and the processes that run them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.jobs.stage import until
from tiffin.errors import InvalidArgument, InvalidConfig, NotFound, StorageError
from tiffin.jobs.children import Children
from tiffin.jobs.record import JobType
from tiffin.jobs.spec import JobSpec, hash_of, load_spec, read_spec, write_spec


def test_a_spec_is_read_back_from_json_and_from_yaml(tmp_path: Path) -> None:
    spec = JobSpec(JobType.BATCH_INGESTION, "rides", ("trips",), 1, 2, id="x", options={"home": "/h"})
    assert read_spec(write_spec(spec)) == spec
    path = tmp_path / "job.yaml"
    path.write_text("type: STREAM_INGESTION\nproject: rides\ntables: [trips]\nslot: 0\n")
    stream = load_spec(path)
    assert (stream.type, stream.lease) == (JobType.STREAM_INGESTION, "stream/rides/trips/0")
    assert spec.lease is None
    assert JobSpec(JobType.STREAM_INGESTION, "p", ("t",)).lease is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1", "neither JSON nor YAML"),
        ("nothing", "does not fit"),
        ("{}", "does not fit"),
        ("type: BATCH_INGESTION\nproject: p\ntables: [t]\nwhat: 1", "what"),
        ("type: HISTORICAL_RETRIEVAL\nproject: p\ntables: [t]", "is a retrieval"),
        ("type: BATCH_INGESTION\nproject: p\ntables: []", "names no table"),
        ("type: STREAM_INGESTION\nproject: p\ntables: [a, b]", "fills one table"),
        ("type: BATCH_INGESTION\nproject: p\ntables: [t]\noptions: {redis_password: x}", "secret 'redis_password'"),
        ("!!python/object/apply:os.system ['true']", "neither JSON nor YAML"),
    ],
)
def test_what_is_no_job_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words) as raised:
        read_spec(text)
    assert raised.value.field == "spec"


def test_options_must_exist_and_so_must_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="nonsense"):
        read_spec("type: BATCH_INGESTION\nproject: p\ntables: [t]\noptions: {nonsense: x}")
    with pytest.raises(NotFound, match="cannot be read"):
        load_spec(tmp_path / "absent")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(NotFound, match="no text"):
        load_spec(tmp_path / "bytes")


def test_hashes_are_those_of_the_content() -> None:
    assert hash_of("a", {"x": 1, "y": 2}) == hash_of("a", {"y": 2, "x": 1})
    assert len({hash_of("a", 1), hash_of("a", 2), hash_of("b", 1), hash_of("a1")}) == 4


SPEC = JobSpec(JobType.BATCH_INGESTION, "p", ("t",), id="x")


def script(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_a_child_gets_its_spec_and_its_options_and_is_seen_to_end(tmp_path: Path) -> None:
    write = f"import os,sys; open({str(tmp_path / 'got')!r},'w').write(os.environ['TIFFIN_X'] + sys.stdin.read())"
    children = Children({"TIFFIN_X": "secret"}, command=script(write))
    children.start(SPEC)
    assert "x" in children
    assert until(children.ended) == [("x", 0)]
    assert (tmp_path / "got").read_text() == "secret" + write_spec(SPEC)
    assert len(children) == 0


def test_children_are_told_to_stop_and_killed() -> None:
    children = Children({}, command=script("import time; time.sleep(60)"))
    children.start(SPEC)
    children.stop()
    assert until(children.ended) == [("x", -signal.SIGTERM)]
    children.start(SPEC)
    children.kill("another")
    assert children.ended() == []
    children.kill("x")
    assert until(children.ended) == [("x", -signal.SIGKILL)]


def test_a_child_that_reads_nothing_or_does_not_exist_is_no_fault_of_its_parent() -> None:
    children = Children({}, command=script("import os; os.close(0)"))
    children.start(SPEC)
    assert until(children.ended) == [("x", 0)]
    with pytest.raises(StorageError, match="No process"):
        Children({}, command=["/nonexistent"]).start(SPEC)
