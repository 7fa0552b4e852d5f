"""What ingestion counts, sent to a real StatsD and scraped by a real Prometheus."""

from __future__ import annotations

import itertools
import json
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.conftest import in_this_process as tiffin
from tests.ingest.counting import AT, FAILURES, Recorder, definitions, judged
from tests.servers.metrics import PrometheusServer, StatsDServer, complaints
from tests.servers.services import PROGRAM, Service, running
from tiffin import Client
from tiffin.cli.metrics import measured
from tiffin.config import Config
from tiffin.errors import FailedPrecondition, InvalidConfig
from tiffin.ingest import datagrams, statsd
from tiffin.ingest.datagrams import PACKET_BYTES, Datagrams, line, packets, safe
from tiffin.ingest.metrics import UNMEASURED, IngestionMetrics, Several
from tiffin.ingest.statsd import Reporter, StatsD
from tiffin.serving.metrics.base import FOLDER_VARIABLE, Metrics
from tiffin.serving.metrics.endpoint import exposed
from tiffin.serving.metrics.textfile import add_to
from tiffin.workspace import Workspace

MICROS = int(AT.timestamp()) * 1_000_000


class Table(NamedTuple):
    project: str = "default"
    name: str = "t"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StatsDServer]:
    server = StatsDServer(tmp_path_factory.mktemp("statsd"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


def store(home: Path, name: str, **options: Any) -> Client:
    client = Client(home=str(home), **options)
    client.apply(definitions(name))
    return client


def good(rows: int) -> pl.DataFrame:
    return pl.concat([judged()[:1]] * rows).with_columns(k=pl.int_range(rows, dtype=pl.Int64))


# What is counted


def test_every_path_counts_the_same_way(home: Path) -> None:
    recorder = Recorder()
    with store(home, "t") as client:
        client.measure(recorder)
        client.ingest("t", good(5))
        assert (recorder.of("read"), recorder.of("written")) == ({"": 5}, {"offline": 5})
        assert recorder.newest == {}
        client.materialize_incremental("t")
        assert (recorder.of("read"), recorder.of("written")) == ({"": 10}, {"offline": 5, "online": 5})
        assert recorder.newest == {"t": MICROS}
        older = good(2).with_columns(event_timestamp=pl.lit(AT).dt.offset_by("-1d"))
        client.push("t", older, idempotency_key="x")
        assert recorder.of("written") == {"offline": 7, "online": 5}
        assert recorder.of("skipped") == {"": 2}
        client.push("t", older, idempotency_key="x")
        assert recorder.of("written") == {"offline": 7, "online": 5}
        assert recorder.newest == {"t": MICROS}


def test_several_counters_are_told_the_same() -> None:
    one, other = Recorder(), Recorder()
    both = Several([one, other]).streaming()
    for counter in (both, UNMEASURED):
        all_of(counter, Table())
    assert one.counts == other.counts
    assert one.counts["written", "t", "offline"] == 3


def all_of(counter: IngestionMetrics, table: Table) -> None:
    """Everything there is to count, once."""
    counter.read(table, 5)
    counter.written(table, 2)
    counter.written(table, 3, store="offline")
    counter.skipped(table, 1)
    counter.dead_lettered(table, 4)
    counter.erased(table, 6)
    counter.check_failed(table, "not_null_a", 7)
    counter.lag(table, 1.5)
    counter.freshness(table, MICROS)


# StatsD


def test_statsd_is_told_what_was_brought_in(home: Path, daemon: StatsDServer) -> None:
    options = {"statsd_enabled": "true", "statsd_host": "127.0.0.1", "statsd_port": str(daemon.port)}
    with store(home, "told", **options) as client:
        client.push("told", judged(), on_invalid="quarantine")
        client.ingest("told", good(3))
        client.materialize_incremental("told")
    of = ";feature_table=told;project=default"
    offline = "tiffin_offline.driver"
    found = daemon.wait_for(f"{offline}.ingestion_pipeline.read_from_source_count{of}", 13)
    assert {name: value for name, value in found.items() if of in name and ";check=" not in name} == {
        f"{offline}.ingestion_pipeline.read_from_source_count{of}": 7 + 3 + 3,
        f"{offline}.ingestion_pipeline.deadletter_count{of}": 6,
        f"{offline}.offline_sink.feature_row_ingested_count{of}": 4,
        f"{offline}.redis_sink.feature_row_ingested_count{of}": 1 + 3,
        f"{offline}.redis_sink.feature_row_skipped_count{of}": 0,
        f"{offline}.ingestion_pipeline.erased_count{of}": 0,
    }
    checks = {name.rpartition("=")[2]: value for name, value in found.items() if f"{of};check=" in name}
    assert checks == FAILURES
    assert daemon.gauges()[f"{offline}.batch.last_processed_event_timestamp{of}"] == AT.timestamp()
    assert found["statsd.bad_lines_seen"] == 0


def test_a_stream_has_names_of_its_own_and_a_histogram_of_lags(daemon: StatsDServer) -> None:
    reporter = Reporter("127.0.0.1", daemon.port)
    counter = StatsD(reporter).streaming()
    table = Table("pay-roll", "streamed")
    for n in range(101):
        counter.lag(table, n / 1_000)
    counter.freshness(table, MICROS)
    counter.freshness(table, MICROS - 5_000_000)
    counter.erased(table, 2)
    reporter.close()
    of = ";feature_table=streamed;project=pay-roll"
    daemon.wait_for(f"tiffin_online.driver.ingestion_pipeline.erased_count{of}", 2)
    assert daemon.gauges()[f"tiffin_online.driver.streaming.last_processed_event_timestamp{of}"] == AT.timestamp()
    lag = "tiffin_online.driver.redis_sink.feature_row_lag_ms"
    job = f"{of};job_id={safe(f'{socket.gethostname()}-{os.getpid()}')}"
    assert daemon.gauges()[f"{lag}.count{job}"] == 101
    timers = {name: value for name, value in daemon.timers().items() if "streamed" in name}
    expected = {"max": 100, "mean": 50, "min": 0, "stddev": 29.15, "p50": 50, "p75": 75, "p95": 95, "p98": 98}
    expected |= {"p99": 99, "p999": 100}
    assert timers == {f"{lag}.{name}{job}": [value] for name, value in expected.items()}


def test_what_is_left_is_sent_when_the_process_ends(home: Path, daemon: StatsDServer, tmp_path: Path) -> None:
    store(home, "ended").close()
    good(4).write_parquet(tmp_path / "rows.parquet")
    program = f"from tiffin import Client\nClient(home={str(home)!r}).push('ended', {str(tmp_path / 'rows.parquet')!r})"
    environment = {"TIFFIN_STATSD_ENABLED": "1", "TIFFIN_STATSD_PORT": str(daemon.port)}
    subprocess.run([sys.executable, "-c", program], env={**os.environ, **environment}, check=True, timeout=60)
    name = "tiffin_offline.driver.redis_sink.feature_row_ingested_count;feature_table=ended;project=default"
    assert daemon.wait_for(name, 4)[name] == 4


def test_counts_are_deltas_that_add_up_whatever_the_threads(daemon: StatsDServer) -> None:
    reporter = Reporter("127.0.0.1", daemon.port, interval=0.01)
    counter = StatsD(reporter)

    def work() -> None:
        for _ in range(500):
            counter.read(Table(name="threads"), 3)
            time.sleep(0.0001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reporter.close()
    name = "tiffin_offline.driver.ingestion_pipeline.read_from_source_count;feature_table=threads;project=default"
    assert daemon.wait_for(name, 6_000)[name] == 6_000


def _counted_in_a_fork(counter: StatsD, reporter: Reporter) -> None:
    counter.read(Table(name="forked"), 1)
    reporter.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_sends_its_own_counts_alone(daemon: StatsDServer) -> None:
    reporter = Reporter("127.0.0.1", daemon.port, interval=60)
    counter = StatsD(reporter)
    counter.read(Table(name="forked"), 10)
    child = multiprocessing.get_context("fork").Process(target=_counted_in_a_fork, args=(counter, reporter))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    reporter.close()
    name = "tiffin_offline.driver.ingestion_pipeline.read_from_source_count;feature_table=forked;project=default"
    assert daemon.wait_for(name, 11)[name] == 11


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", "x" * 300])
def test_a_server_that_is_away_costs_one_warning(host: str, caplog: pytest.LogCaptureFixture) -> None:
    reporter = Reporter(host, 9, interval=0.01)
    counter = StatsD(reporter)
    began = time.monotonic()
    for _ in range(1_000):
        all_of(counter, Table())
    assert time.monotonic() - began < 1
    with caplog.at_level(logging.WARNING):
        time.sleep(0.1)
        reporter.close()
    assert len(caplog.records) <= 1


def test_a_lookup_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_: object, **__: object) -> Any:
        released.wait(30)
        raise OSError("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    reporter = Reporter("slow.invalid", 9, interval=0.01)
    began = time.monotonic()
    for _ in range(100):
        StatsD(reporter).read(Table(), 1)
        time.sleep(0.001)
    assert time.monotonic() - began < 1
    reporter.close(grace=0.2)
    assert time.monotonic() - began < 1.5
    released.set()


def test_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(Datagrams, "send", lambda _, lines: sent.extend(lines))
    monkeypatch.setattr(statsd, "LIMIT", 10)
    reporter = Reporter("127.0.0.1", 9, interval=60)
    for n in range(100):
        StatsD(reporter).read(Table(name=f"t{n}"), 1)
        StatsD(reporter).lag(Table(name=f"t{n}"), 1)
        StatsD(reporter).freshness(Table(name=f"t{n}"), 1)
    reporter.close()
    assert len(sent) == 10 + 10 + 10 * 11


@given(st.text(), st.text(), st.integers(-(2**63), 2**63) | st.floats(0, 1e12))
def test_any_tag_makes_one_line_that_reads_back(project: str, check: str, value: float) -> None:
    text = line("a.b", value, "c", {"project": project, "check": check})
    assert text.isascii()
    assert "\n" not in text
    name, _, rest = text.partition(":")
    number, kind, tags = rest.split("|")
    assert (name, kind) == ("a.b", "c")
    assert abs(float(number) - value) <= 0.005 + abs(value) * 1e-15
    assert tags.startswith("#")
    assert [tag.split(":") for tag in tags[1:].split(",")] == [["project", safe(project)], ["check", safe(check)]]


@given(st.lists(st.text(alphabet="abc:|é", min_size=1, max_size=60), max_size=80), st.integers(70, 400))
def test_packets_hold_all_lines_in_order_and_no_more_than_fits(lines: list[str], at_most: int) -> None:
    found = list(packets(lines, at_most=at_most))
    assert all(len(packet) <= at_most for packet in found)
    joined = [text for packet in found for text in packet.decode().split("\n")]
    assert joined == [text.encode("ascii", "replace").decode() for text in lines]
    assert all(len(a) + 1 + len(b.split(b"\n")[0]) > at_most for a, b in itertools.pairwise(found))


def test_a_line_beyond_a_packet_is_left_out() -> None:
    assert list(packets(["a", "b" * PACKET_BYTES + "b", "c"])) == [b"a\nc"]
    longest = line("n" * 100, 1, "c", dict.fromkeys(("feature_table", "project", "check", "job_id"), "x" * 10_000))
    assert len(longest) < PACKET_BYTES


def test_bursts_are_paced(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    # Its own name alone: other threads of this process sleep, too.
    monkeypatch.setattr(datagrams, "time", SimpleNamespace(**{**vars(time), "sleep": slept.append}))
    Datagrams("127.0.0.1", 9).send("x" * 1_000 for _ in range(100))
    assert slept == [datagrams.PAUSE] * 3


# Prometheus


def samples(body: bytes) -> dict[tuple[str, ...], float]:
    """Samples of ingestion by name and the values of their labels."""
    families = text_string_to_metric_families(body.decode())
    found = [sample for family in families for sample in family.samples if sample.name.startswith("tiffin_ingestion")]
    return {(sample.name.removeprefix("tiffin_ingestion_"), *sample.labels.values()): sample.value for sample in found}


def scraped(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
    return body


def test_prometheus_scrapes_what_is_counted(tmp_path: Path) -> None:
    with exposed("127.0.0.1", 0) as (metrics, url):
        all_of(metrics.ingestion, Table())
        metrics.ingestion.freshness(Table(), MICROS - 1)
        assert complaints(scraped(url)) == ""
        prometheus = PrometheusServer(tmp_path, [url.split("/")[2]])
        with running(prometheus):
            of = (("feature_table", "t"), ("project", "default"))
            newest = prometheus.wait_for("tiffin_ingestion_newest_event_timestamp_seconds")
            assert newest == {of: AT.timestamp()}
            written = prometheus.query("tiffin_ingestion_rows_written_total")
            assert written == {(*of, ("store", "online")): 2, (*of, ("store", "offline")): 3}
            assert prometheus.query("tiffin_ingestion_checks_failed_total") == {(("check", "not_null_a"), *of): 7}
            assert prometheus.query("histogram_quantile(0.5, tiffin_ingestion_lag_seconds_bucket)") == {of: 1.75}


def test_the_endpoint_answers_scrapers_alone(tmp_path: Path) -> None:
    with exposed("127.0.0.1", 0) as (_, url):
        host, port = url.split("/")[2].split(":")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{host}:{port}/", timeout=5)
        with socket.create_connection((host, int(port))) as rude:
            rude.sendall(b"\x00\xff\r\n\r\n")
            rude.recv(100)
        silent = [socket.create_connection((host, int(port))) for _ in range(4)]
        assert b"tiffin_jobs_workers 1" in scraped(url)
        with pytest.raises(FailedPrecondition, match="in use") as caught, exposed(host, int(port)):
            raise AssertionError("two listen on one port")
        assert caught.value.field == "metrics_port"
        for each in silent:
            each.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host, int(port)), timeout=2)


def test_workers_of_the_online_service_count_together(home: Path, tmp_path: Path) -> None:
    store(home, "t").close()
    service = Service("online", home, "--workers", "2")
    with running(service):
        columns = good(2).with_columns(pl.col("event_timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        body = json.dumps({"push_source_name": "t", "df": columns.to_dict(as_series=False), "to": "online"}).encode()
        request = urllib.request.Request(
            f"http://{service.address}/push", body, {"content-type": "application/json"}, method="POST"
        )

        def push(_: int) -> None:
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status == 200

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(push, range(12)))
        deadline = time.monotonic() + 10
        while (found := samples(scraped(f"http://{service.address}/metrics"))).get(
            ("rows_read_total", "default", "t")
        ) != 24 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found["rows_read_total", "default", "t"] == 24
        written = found["rows_written_total", "default", "t", "online"]
        assert written + found["rows_skipped_total", "default", "t"] == 24
        assert found["newest_event_timestamp_seconds", "default", "t"] == AT.timestamp()


def test_commands_leave_their_counts_behind(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(home, "t").close()
    file, rows = tmp_path / "node" / "tiffin.prom", tmp_path / "rows.parquet"
    monkeypatch.setenv("TIFFIN_METRICS_TEXTFILE", str(file))
    judged().write_parquet(rows)
    for _ in range(2):
        tiffin("push", "t", str(rows), "--home", str(home), "--on-invalid", "quarantine")
    tiffin("ingest", "t", str(rows), "--home", str(home), code=1)
    tiffin("materialize", "t", "--home", str(home), "--incremental")
    found = samples(file.read_bytes())
    assert complaints(file.read_bytes()) == ""
    assert found["rows_dead_lettered_total", "default", "t"] == 12
    assert found["rows_written_total", "default", "t", "offline"] == 2
    assert found["checks_failed_total", "default", "t", "not_null_a"] == 3
    assert found["newest_event_timestamp_seconds", "default", "t"] == AT.timestamp()


def test_a_file_for_nobody_is_refused_first(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(home, "t").close()
    monkeypatch.setenv("TIFFIN_METRICS_TEXTFILE", str(tmp_path / "metrics.txt"))
    good(1).write_parquet(tmp_path / "rows.parquet")
    outcome = tiffin("push", "t", str(tmp_path / "rows.parquet"), "--home", str(home), "--json", code=1)
    assert (outcome.error["code"], outcome.error["field"]) == (InvalidConfig.code, "metrics_textfile")
    assert not (home / "offline").exists()


def test_a_file_that_cannot_be_written_costs_a_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(home, "t").close()
    (tmp_path / "file").touch()
    monkeypatch.setenv("TIFFIN_METRICS_TEXTFILE", str(tmp_path / "file" / "x.prom"))
    good(1).write_parquet(tmp_path / "rows.parquet")
    outcome = tiffin("push", "t", str(tmp_path / "rows.parquet"), "--home", str(home), "--json")
    assert outcome.json["rows"] == 1
    assert "Metrics cannot be added" in outcome.err


def test_commands_that_end_at_once_lose_no_count(tmp_path: Path) -> None:
    file = tmp_path / "tiffin.prom"

    def command(_: int) -> None:
        metrics = Metrics("tiffin_jobs", ())
        all_of(metrics.ingestion, Table())
        add_to(file, metrics)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(command, range(40)))
    found = samples(file.read_bytes())
    assert found["rows_read_total", "default", "t"] == 200
    assert found["lag_seconds_count", "default", "t"] == 40
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".lock", ".prom", ".sums"]


def test_sums_of_another_version_are_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "tiffin.prom"
    file.with_suffix(".sums").write_bytes(msgspec.msgpack.encode({"tiffin_other": "x"}))
    metrics = Metrics("tiffin_jobs", ())
    all_of(metrics.ingestion, Table())
    add_to(file, metrics)
    assert samples(file.read_bytes())["rows_read_total", "default", "t"] == 5


def test_a_workspace_measures_with_all_that_it_was_given(home: Path) -> None:
    workspace = Workspace(Config(home=str(home)))
    assert workspace.metrics is UNMEASURED
    one, other = Recorder(), Recorder()
    workspace.measure(one)
    assert workspace.metrics is one
    workspace.measure(other)
    workspace.metrics.read(Table(), 2)
    assert one.of("read") == other.of("read") == {"": 2}
    assert workspace.route.metrics is workspace.metrics
    workspace.close()


def test_whoever_starts_jobs_shows_what_they_count(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with store(home, "t") as client:
        client.ingest("t", good(3))
    spec = {"type": "BATCH_INGESTION", "project": "default", "tables": ["t"]}
    workspace = Workspace(Config(home=str(home)))
    with measured(workspace, port=0) as url:
        assert url is not None
        workspace.metrics.read(Table(), 1)
        for _ in range(2):
            subprocess.run(
                [*PROGRAM, "job", "run", "-", "--home", str(home)], input=json.dumps(spec).encode(), check=True
            )
        found = samples(scraped(url))
        assert found["rows_written_total", "default", "t", "online"] == 3
        assert found["rows_read_total", "default", "t"] == 1 + 3
        folder = Path(os.environ[FOLDER_VARIABLE])
    assert FOLDER_VARIABLE not in os.environ
    assert not folder.exists()
    assert url in capsys.readouterr().err
    workspace.close()


def test_a_job_outlives_the_folder_of_whoever_started_it(home: Path) -> None:
    with store(home, "t") as client:
        client.ingest("t", good(3))
    spec = {"type": "BATCH_INGESTION", "project": "default", "tables": ["t"]}
    done = subprocess.run(
        [*PROGRAM, "job", "run", "-", "--home", str(home), "--json"],
        input=json.dumps(spec).encode(),
        env={**os.environ, FOLDER_VARIABLE: str(home / "gone")},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["rows_written"] == 3
    assert b"folder of metrics" in done.stderr
