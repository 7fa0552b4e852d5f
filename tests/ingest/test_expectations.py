"""Every expectation, on every path by which rows come in: refused or set aside, told and counted alike."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.conftest import in_this_process as tiffin
from tests.ingest.counting import AT, FAILED, FAILURES, Recorder, definitions, judged, shown_as
from tests.ingest.streams import NOW, Scene, feed_in, message
from tests.serving.online_world import serving
from tiffin import Client, ValueType
from tiffin.definitions.expectation import AnyExpectation, Between, InSet, Matches, NotNull
from tiffin.definitions.schema import Column
from tiffin.errors import InvalidArgument, InvalidData, InvalidDefinition
from tiffin.ingest.expect import failing
from tiffin.ingest.materialize import Route

REFUSED = [(position, failed) for position, failed in enumerate(FAILED, 1)]


@pytest.fixture
def client(home: Path) -> Iterator[Client]:
    with Client(home=str(home)) as client:
        client.apply(definitions())
        yield client


def alone(position: int) -> pl.DataFrame:
    """One bad row of ``judged()`` and the good one, so that a repetition is one."""
    return judged()[[0, position]]


# The client


@pytest.mark.parametrize("way", ["ingest", "push"])
def test_the_client_sets_aside_and_counts(client: Client, way: str) -> None:
    recorder = Recorder()
    client.measure(recorder)
    commit = getattr(client, way)("t", judged(), on_invalid="quarantine")
    assert (commit.rows, commit.rejected) == (1, 6)
    assert [entry["row"] for entry in commit.first_rejected] == [1, 2, 3, 4, 5, 6]
    shown_as(list(commit.first_rejected), [1, 2, 3, 4, 5, 6])
    letters = pl.read_parquet(f"{commit.dead_letters}/*.parquet").sort("_row")
    assert letters["_row"].to_list() == [1, 2, 3, 4, 5, 6]
    assert letters["_reason"][3] == "c: expected one of ['x', 'y']; c: expected a match of '^x'"
    assert recorder.of("failed") == FAILURES
    assert recorder.of("read") == {"": 7}
    assert recorder.of("dead_lettered") == {"": 6}
    assert recorder.of("written") == {"offline": 1} | ({"online": 1} if way == "push" else {})


@pytest.mark.parametrize("way", ["ingest", "push"])
@pytest.mark.parametrize(("position", "failed"), REFUSED)
def test_the_client_refuses_and_counts(client: Client, way: str, position: int, failed: Any) -> None:
    recorder = Recorder()
    client.measure(recorder)
    with pytest.raises(InvalidData) as caught:
        getattr(client, way)("t", alone(position))
    shown_as(caught.value.rejected, [position])
    assert caught.value.field == failed[1]
    assert recorder.of("failed") == dict.fromkeys(failed[0], 1)
    assert recorder.of("dead_lettered") == recorder.of("written") == {}
    assert not list(Path(client.config.home, "offline").rglob("*.parquet"))


def test_checks_that_nothing_failed_are_known(client: Client) -> None:
    recorder = Recorder()
    client.measure(recorder)
    client.push("t", judged()[:1])
    assert {key[2] for key in recorder.counts if key[0] == "failed"} == set(FAILURES)
    assert recorder.of("failed") == {}
    assert recorder.newest == {"t": int(AT.timestamp()) * 1_000_000}


# The command line


@pytest.mark.parametrize("way", ["ingest", "push"])
def test_the_command_line_tells_as_the_client_does(client: Client, home: Path, tmp_path: Path, way: str) -> None:
    file = tmp_path / "rows.parquet"
    judged().write_parquet(file)
    outcome = tiffin(way, "t", str(file), "--home", str(home), "--json", code=1)
    shown_as(outcome.error["rejected"], [1, 2, 3, 4, 5])
    outcome = tiffin(way, "t", str(file), "--home", str(home), "--on-invalid", "quarantine", "--json")
    shown_as(outcome.json["first_rejected"], [1, 2, 3, 4, 5, 6])
    outcome = tiffin(way, "t", str(file), "--home", str(home), "--on-invalid", "quarantine")
    assert "row 1, a: expected a value, found null (None)" in outcome.out
    assert "and 1 more rows" in outcome.out


# HTTP


def http_push(service: Any, frame: pl.DataFrame, to: str) -> Any:
    columns = frame.with_columns(pl.col("event_timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S")).to_dict(as_series=False)
    columns["b"] = ["NaN" if value != value else value for value in columns["b"]]
    wanted = {"accept": "application/json"}
    if to == "write":
        body = {"feature_view_name": "t", "df": columns}
        return service.post("/write-to-online-store", json=body, headers=wanted)
    return service.post("/push", json={"push_source_name": "t", "df": columns, "to": to}, headers=wanted)


def arrow_push(service: Any, frame: pl.DataFrame, to: str) -> Any:
    body = BytesIO()
    frame.write_ipc_stream(body, compat_level=pl.CompatLevel.newest())
    return service.post("/v1/push?table=t", content=body.getvalue())


WAYS: list[tuple[Callable[..., Any], str]] = [
    (http_push, "online_and_offline"),
    (http_push, "online"),
    (http_push, "offline"),
    (http_push, "write"),
    (arrow_push, "online_and_offline"),
]


def counted(service: Any, name: str) -> dict[str, float]:
    """Samples of a metric that are not zero, by their last label that is not of the table."""
    samples = [s for f in text_string_to_metric_families(service.get("/metrics").text) for s in f.samples]
    named = [sample for sample in samples if sample.name == f"tiffin_ingestion_{name}"]
    return {s.labels.get("check", s.labels.get("store", "")): s.value for s in named if s.value}


@pytest.mark.parametrize(("send", "to"), WAYS)
def test_the_service_refuses_tells_and_counts(client: Client, home: Path, send: Any, to: str) -> None:
    with serving(home) as service:
        for position, (_, column, *_) in REFUSED:
            answer = send(service, alone(position), to)
            assert answer.status_code == 422
            told = answer.json()
            if send is http_push:  # Feast's shape: a text that holds JSON
                told = json.loads(told)
                assert told["module"] == "feast.errors"
            shown_as(told["rejected"], [position])
            assert told["field"] == column
        assert counted(service, "checks_failed_total") == FAILURES
        assert counted(service, "rows_written_total") == {}


@pytest.mark.parametrize(("send", "to"), WAYS)
def test_the_service_sets_aside_tells_and_counts(client: Client, home: Path, send: Any, to: str) -> None:
    with serving(home, ingestion_drop_invalid_rows="true") as service:
        answer = send(service, judged(), to)
        assert answer.status_code == 200
        commit = answer.json()
        assert (commit["rows"], commit["rejected"]) == (1, 6)
        shown_as(commit["first_rejected"], [1, 2, 3, 4, 5, 6])
        assert counted(service, "checks_failed_total") == FAILURES
        assert counted(service, "rows_dead_lettered_total") == {"": 6}
        stores = {"online_and_offline": ["offline", "online"], "offline": ["offline"]}.get(to, ["online"])
        assert counted(service, "rows_written_total") == dict.fromkeys(stores, 1)
    assert pl.read_parquet(f"{commit['dead_letters']}/*.parquet").height == 6


# Streams


@pytest.mark.parametrize("to_offline", [True, False])
def test_a_stream_sets_aside_and_counts(tmp_path: Path, to_offline: bool) -> None:
    table = definitions()[1]
    features = tuple(Column(each.name, each.dtype, each.name) for each in table.features)
    feed = feed_in(tmp_path, to_offline=to_offline, features=features, expectations=tuple(table.expectations))
    scene = Scene(tmp_path, feed)
    recorder = Recorder()
    scene.route = Route(scene.route.engine, scene.store, metrics=recorder)
    try:
        for row in judged().drop("event_timestamp").with_columns(b=pl.col("b").fill_nan(-1)).to_dicts():
            scene.send(message(row["k"], NOW - 1, row["a"], b=row["b"], c=row["c"]))
        scene.send(b"poison")
        scene.drain()
        letters = scene.letters()
    finally:
        scene.close()
    assert recorder.of("failed") == FAILURES
    assert recorder.of("read") == {"": 8}
    assert recorder.of("dead_lettered") == {"": 7}
    assert recorder.of("written") == {"online": 1} | ({"offline": 1} if to_offline else {})
    assert letters["_offset"].to_list() == [1, 2, 3, 4, 5, 6, 7]
    for reason, (_, column, _, words) in zip(letters["_reason"], FAILED, strict=False):
        assert words in reason
        assert column in reason or column == "event_timestamp"


# Rules of values


def failed(expectation: AnyExpectation, dtype: ValueType, column: pl.Series) -> list[bool]:
    judged = failing(expectation, pl.col("f"), dtype)
    assert judged is not None
    return pl.DataFrame({"f": column}).select(judged[0].fill_null(value=False)).to_series().to_list()


@pytest.mark.parametrize(
    ("expectation", "values", "refused"),
    [
        (Between("f", 0.5, 2.5), [0, 1, 2, 3, None], [True, False, False, True, False]),
        (Between("f", maximum=float(2**53)), [2**53, 2**53 + 1], [False, True]),
        (Between("f", minimum=float(2**53) + 2), [2**53 + 1, 2**53 + 2], [True, False]),
        (Between("f", minimum=1e300), [2**63 - 1, None], [True, False]),
        (Between("f", maximum=-1e300), [-(2**63), 0], [True, True]),
        (Between("f", -1e300, 1e300), [-(2**63), 2**63 - 1], [False, False]),
        (InSet("f", [float(2**53), 2.5, 1e300]), [2**53, 2**53 + 1, 2, None], [False, True, True, False]),
    ],
)
def test_whole_numbers_are_compared_exactly(
    expectation: AnyExpectation, values: list[int | None], refused: list[bool]
) -> None:
    assert failed(expectation, ValueType.INT64, pl.Series(values, dtype=pl.Int64)) == refused


def test_nan_is_a_value_that_no_bound_and_no_set_allows() -> None:
    column = pl.Series([float("nan"), None, 0.1], dtype=pl.Float32)
    assert failed(NotNull("f"), ValueType.FLOAT, column) == [False, True, False]
    assert failed(Between("f", maximum=1), ValueType.FLOAT, column) == [True, False, False]
    assert failed(InSet("f", [0.1]), ValueType.FLOAT, column) == [True, False, False]


def test_bounds_of_instants_may_be_beyond_all_of_them() -> None:
    column = pl.Series([AT], dtype=pl.Datetime("us", "UTC"))
    assert failed(Between("f", -1e18, 1e18), ValueType.UNIX_TIMESTAMP, column) == [False]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)", "look-around"),
        ("(?<!a)b", "look-around"),
        (r"(a)\1", "backreferences"),
        ("(a", "unclosed group"),
        ("a{1000}{1000}{100}", "exceeds size limit"),
    ],
)
def test_patterns_that_are_not_searched_for_in_linear_time_are_refused(pattern: str, reason: str) -> None:
    with pytest.raises(InvalidDefinition, match=reason) as caught:
        Matches("f", pattern).check()
    assert caught.value.field == "f"
    with pytest.raises(InvalidArgument):  # also where it was registered by an earlier version
        failing(Matches("f", pattern), pl.col("f"), ValueType.STRING)


def test_no_row_makes_a_search_slow() -> None:
    column = pl.Series(["a" * 100_000 + "b"])
    began = time.monotonic()
    assert failed(Matches("f", "^(a+)+$"), ValueType.STRING, column) == [True]
    assert time.monotonic() - began < 1


def test_a_value_at_fault_is_shown_as_far_as_it_helps(client: Client) -> None:
    with pytest.raises(InvalidData) as caught:
        client.ingest("t", judged()[:1].with_columns(c=pl.lit("z" * 10_000)))
    assert len(caught.value.rejected[0]["value"]) == 200
    assert len(str(caught.value)) < 1_000
