"""The lake's reading side: snapshots of plain locations and Delta tables written by the library itself."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fsspec
import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, convert_to_deltalake, write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from tiffin import clock
from tiffin.data_format import DeltaFormat, ParquetFormat
from tiffin.data_source import FileSource
from tiffin.errors import InvalidArgument, NotFound, Unsupported
from tiffin.offline import lake
from tiffin.offline.base import Position
from tiffin.offline.location import is_glob, list_parquet, normalise, partition_of

NOON = datetime(2026, 9, 1, 12, 0, 0, 123_456, UTC)


def source(url: Path | str, version: int | None = None, *, delta: bool = False) -> FileSource:
    return FileSource("at", DeltaFormat(version) if delta or version is not None else ParquetFormat(), str(url))


def frame(count: int = 1, **columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"k": list(range(count)), "at": [NOON] * count, **columns})


def names(snapshot: lake.LakeSnapshot) -> list[str]:
    return [os.path.relpath(file.path, snapshot.uri) for file in snapshot.files]


def test_plain_folders_leave_out_what_is_no_data(tmp_path: Path) -> None:
    for name in ("a.parquet", "b/c.PARQUET", "_SUCCESS", "_tmp/x.parquet", ".hid/x.parquet", ".x.parquet", "n.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        frame().write_parquet(path)
    found = lake.snapshot(source(tmp_path))
    assert names(found) == ["a.parquet", "b/c.PARQUET"]
    assert (found.version, found.columns) == (-1, None)
    stat = (tmp_path / "a.parquet").stat()
    assert (found.files[0].size, found.files[0].modified_ns) == (stat.st_size, stat.st_mtime_ns)


@pytest.mark.parametrize("form", ["{}", "{}/", "{}/*", "{}/**", "file://{}", "file://{}/*"])
def test_one_folder_however_it_is_written(tmp_path: Path, form: str) -> None:
    frame().write_parquet(tmp_path / "a.parquet")
    found = lake.snapshot(source(form.format(tmp_path)))
    assert (found.uri, names(found)) == (str(tmp_path), ["a.parquet"])


def test_files_globs_and_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a1.parquet", "a2.parquet", "b.parquet", "odd[1].parquet"):
        frame().write_parquet(tmp_path / name)
    assert [Path(f.path).name for f in lake.snapshot(source(tmp_path / "a1.parquet")).files] == ["a1.parquet"]
    assert [Path(f.path).name for f in lake.snapshot(source(f"{tmp_path}/a*.parquet")).files] == [
        "a1.parquet",
        "a2.parquet",
    ]
    assert [Path(f.path).name for f in lake.snapshot(source(tmp_path / "odd[1].parquet")).files] == ["odd[1].parquet"]
    assert lake.snapshot(source(tmp_path / "none")).files == ()
    assert lake.snapshot(source(tmp_path / "none/*.parquet")).files == ()
    monkeypatch.chdir(tmp_path)
    assert len(lake.snapshot(source(".")).files) == 4
    with pytest.raises(InvalidArgument):
        normalise(" ")


def test_hive_folders_are_partition_values(tmp_path: Path) -> None:
    for name in ("day=2026-09-01/r=a%20b", "day=2026-09-02/r=__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / name).mkdir(parents=True)
        frame().write_parquet(tmp_path / name / "x.parquet")
    assert [file.partition for file in lake.snapshot(source(tmp_path)).files] == [
        {"day": "2026-09-01", "r": "a b"},
        {"day": "2026-09-02", "r": None},
    ]
    globbed = lake.snapshot(source(f"{tmp_path}/day=*/r=*/*.parquet"))
    assert [file.partition["day"] for file in globbed.files] == ["2026-09-01", "2026-09-02"]


@given(st.dictionaries(st.from_regex(r"[a-z]{1,3}", fullmatch=True), st.text(min_size=1, max_size=5), max_size=3))
def test_any_partition_value_comes_back(values: dict[str, str]) -> None:
    path = "".join(f"{key}={quote(value, safe='')}/" for key, value in values.items()) + "part-0.parquet"
    assert partition_of(path) == values


def test_delta_tables_are_read_through_their_log(tmp_path: Path) -> None:
    write_deltalake(tmp_path, frame(2, p=["a b", None]), partition_by=["p"])
    write_deltalake(tmp_path, frame(1, p=["c:d/e%"]), mode="append")
    frame().write_parquet(tmp_path / "stray.parquet")
    found = lake.snapshot(source(tmp_path))
    assert (found.version, found.columns, found.partition_columns) == (1, ("k", "at", "p"), ("p",))
    assert sorted(str(file.partition["p"]) for file in found.files) == ["None", "a b", "c:d/e%"]
    assert all(Path(file.path).exists() for file in found.files)
    assert sum(pl.read_parquet(f.path, glob=False, hive_partitioning=False).height for f in found.files) == 3
    # The library cuts statistics to milliseconds; the bounds hold all the same.
    micros = clock.to_micros(NOON)
    assert all(f.event_min is not None and f.event_min <= micros <= (f.event_max or 0) for f in found.files)


def test_versions_are_pinned_by_the_format_or_the_call(tmp_path: Path) -> None:
    for _ in range(3):
        write_deltalake(tmp_path, frame(), mode="append")
    assert [len(lake.snapshot(source(tmp_path, n)).files) for n in range(3)] == [1, 2, 3]
    assert lake.snapshot(source(tmp_path), version=1).version == 1
    with pytest.raises(NotFound, match="no version 7; the newest is 2"):
        lake.snapshot(source(tmp_path, 7))
    (tmp_path / "plain").mkdir()
    with pytest.raises(NotFound, match="not a Delta table"):
        lake.snapshot(source(tmp_path / "plain", 0))
    assert lake.snapshot(source(tmp_path / "plain", delta=True)).files == ()


def test_what_was_known_at_an_instant(tmp_path: Path) -> None:
    for stamp in (100, 200, 300):
        properties = CommitProperties(custom_metadata={lake.COMMITTED_AT: stamp})
        write_deltalake(tmp_path, frame(), mode="append", commit_properties=properties)
    known = [lake.snapshot(source(tmp_path), known_at=at) for at in (99, 100, 199, 200, 10**16)]
    assert [len(found.files) for found in known] == [0, 1, 1, 2, 3]
    assert [found.version for found in known] == [-1, 0, 0, 1, 2]
    assert known[0].columns == ("k", "at")


def test_commits_of_others_count_by_the_time_of_their_log(tmp_path: Path) -> None:
    write_deltalake(tmp_path, frame())
    made = json.loads((tmp_path / "_delta_log/00000000000000000000.json").read_text().splitlines()[0])
    stamp = made["commitInfo"]["timestamp"] * 1000
    assert lake.snapshot(source(tmp_path), known_at=stamp - 1).files == ()
    assert len(lake.snapshot(source(tmp_path), known_at=stamp).files) == 1


def test_a_log_that_no_longer_reaches_back_says_so(tmp_path: Path) -> None:
    for stamp in (100, 200):
        properties = CommitProperties(custom_metadata={lake.COMMITTED_AT: stamp})
        write_deltalake(tmp_path, frame(), mode="append", commit_properties=properties)
    DeltaTable(tmp_path).create_checkpoint()
    (tmp_path / "_delta_log/00000000000000000000.json").unlink()
    assert lake.snapshot(source(tmp_path), known_at=250).version == 1
    with pytest.raises(Unsupported, match="begins at version 1"):
        lake.snapshot(source(tmp_path), known_at=150)


def test_a_table_with_mapped_columns_is_refused(tmp_path: Path) -> None:
    write_deltalake(tmp_path, frame())
    path = tmp_path / "_delta_log/00000000000000000000.json"
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    for action in actions:
        if "protocol" in action:
            action["protocol"] = {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": ["columnMapping"],
                "writerFeatures": ["columnMapping"],
            }
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            for number, field in enumerate(schema["fields"], 1):
                field["metadata"] = {
                    "delta.columnMapping.id": number,
                    "delta.columnMapping.physicalName": field["name"],
                }
            action["metaData"]["schemaString"] = json.dumps(schema)
            action["metaData"]["configuration"] = {
                "delta.columnMapping.mode": "name",
                "delta.columnMapping.maxColumnId": "2",
            }
    path.write_text("\n".join(map(json.dumps, actions)))
    with pytest.raises(Unsupported, match="maps column names"):
        lake.snapshot(source(tmp_path))


def test_a_deletion_vector_is_refused_and_none_is_fine(tmp_path: Path) -> None:
    write_deltalake(tmp_path, frame(3), configuration={"delta.enableDeletionVectors": "true"})
    assert len(lake.snapshot(source(tmp_path)).files) == 1
    path = tmp_path / "_delta_log/00000000000000000000.json"
    actions = [json.loads(line) for line in path.read_text().splitlines()]
    for action in actions:
        if "add" in action:
            # The second of three rows, as the protocol's own example stores it inline.
            action["add"]["deletionVector"] = {
                "storageType": "i",
                "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
                "sizeInBytes": 40,
                "cardinality": 6,
            }
    path.write_text("\n".join(map(json.dumps, actions)))
    with pytest.raises(Unsupported, match="deletion vectors"):
        lake.snapshot(source(tmp_path))


def test_new_files_of_a_plain_folder(tmp_path: Path) -> None:
    frame().write_parquet(tmp_path / "a.parquet")
    before = lake.position(source(tmp_path))
    assert lake.files_since(source(tmp_path), before).files == ()
    frame(2).write_parquet(tmp_path / "b.parquet")
    assert names(lake.files_since(source(tmp_path), before)) == ["b.parquet"]
    frame(3).write_parquet(tmp_path / "a.parquet")  # replaced
    assert names(lake.files_since(source(tmp_path), before)) == ["a.parquet", "b.parquet"]
    assert len(lake.files_since(source(tmp_path), Position("elsewhere")).files) == 2


def test_new_files_of_a_delta_table_hold_all_new_rows(tmp_path: Path) -> None:
    write_deltalake(tmp_path, frame(1, n=[0]))
    before = lake.position(source(tmp_path))
    for n in (1, 2):
        write_deltalake(tmp_path, frame(1, n=[n]), mode="append")
    assert lake.position(source(tmp_path)).version == 2
    assert rows_of(lake.files_since(source(tmp_path), before)) == [1, 2]
    DeltaTable(tmp_path).optimize.compact()
    assert {1, 2} <= set(rows_of(lake.files_since(source(tmp_path), before)))
    assert lake.files_since(source(tmp_path), lake.position(source(tmp_path))).files == ()


def rows_of(found: lake.LakeSnapshot) -> list[int]:
    return sorted(n for file in found.files for n in pl.read_parquet(file.path)["n"])


def test_a_position_of_another_table_narrows_nothing(tmp_path: Path) -> None:
    write_deltalake(tmp_path, frame(1, n=[0]))
    before = lake.position(source(tmp_path))
    write_deltalake(tmp_path / "b", frame(1, n=[5]))
    assert rows_of(lake.files_since(source(tmp_path / "b"), before)) == [5]
    ahead = Position(before.identity, version=9)
    assert rows_of(lake.files_since(source(tmp_path), ahead)) == [0]


def test_an_adopted_folder_goes_on_from_where_it_was(tmp_path: Path) -> None:
    frame(1, n=[0]).write_parquet(tmp_path / "a.parquet")
    before = lake.position(source(tmp_path))
    convert_to_deltalake(tmp_path)
    write_deltalake(tmp_path, frame(1, n=[1]), mode="append")
    assert rows_of(lake.files_since(source(tmp_path), before)) == [1]


def test_a_pinned_source_stands_still(tmp_path: Path) -> None:
    write_deltalake(tmp_path, frame())
    before = lake.position(source(tmp_path, 0))
    write_deltalake(tmp_path, frame(), mode="append")
    assert lake.position(source(tmp_path, 0)) == before
    assert lake.files_since(source(tmp_path, 0), before).files == ()


def test_buckets_are_listed_alike() -> None:
    bucket = fsspec.filesystem("memory")
    for name in ("t/a.parquet", "t/day=1/b.parquet", "t/_x/c.parquet", "t/.d.parquet", "t/e.txt", "u/f.parquet"):
        bucket.pipe_file(f"/lake-test/{name}", b"x")
    found = list_parquet("memory://lake-test/t")
    assert [file.path for file in found] == ["memory://lake-test/t/a.parquet", "memory://lake-test/t/day=1/b.parquet"]
    assert found[1].partition == {"day": "1"}
    assert found[0].modified_ns > 0
    assert [f.path for f in list_parquet("memory://lake-test/*/f.parquet")] == ["memory://lake-test/u/f.parquet"]
    assert list_parquet("memory://lake-test/none") == ()
    assert is_glob("memory://lake-test/*/f.parquet")
    with pytest.raises(InvalidArgument, match="scheme"):
        list_parquet("nosuch://bucket/x")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3a://bucket/a/*", "s3://bucket/a"),
        ("gcs://bucket/a/", "gs://bucket/a"),
        ("gs://bucket/a/part-*", "gs://bucket/a/part-*"),
        ("/a/b/../c/", "/a/c"),
        ("file:///a%20b/c", "/a b/c"),
    ],
)
def test_locations_have_one_spelling(url: str, expected: str) -> None:
    assert normalise(url) == expected


@pytest.mark.parametrize("url", ["http://host/a", "HTTPS://host/a/*.parquet", "ftp://host/a", "hdfs://host/a", "x://y"])
def test_a_server_that_is_no_bucket_is_refused_before_it_is_asked(url: str) -> None:
    with pytest.raises(Unsupported, match="paths and buckets") as refused:
        lake.snapshot(source(url))
    assert refused.value.field == "file_url"
    assert refused.value.hint
