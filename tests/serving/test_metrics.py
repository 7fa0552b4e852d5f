"""Metrics: what is counted, how it is told, and that workers who come and go are told together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_text

from tiffin.online.read import Status
from tiffin.serving.metrics import FOLDER_VARIABLE, CoreFacts, CoreMetrics, ServingFacts, ServingMetrics, base
from tiffin.serving.metrics.board import Board
from tiffin.serving.metrics.exposition import OPEN_METRICS, TEXT, chosen_format, exposed
from tiffin.serving.metrics.plan import ROW_BOUNDS
from tiffin.serving.metrics.tally import Family, Tally, merged

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
PRESENT, MISSING, STALE, NULL = Status.PRESENT, Status.NOT_FOUND, Status.OUTSIDE_MAX_AGE, Status.NULL_VALUE
_forks = multiprocessing.get_context("fork")


def samples(metrics: ServingMetrics | CoreMetrics, accept: str = OPEN_METRICS) -> Samples:
    body, content_type = metrics.scrape(accept)
    read: Any = read_open if content_type == OPEN_METRICS else read_text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in read(body.decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


@pytest.fixture
def metrics() -> ServingMetrics:
    return ServingMetrics()


# What is counted


def test_a_read_is_counted_by_request_and_its_absences_by_row(metrics: ServingMetrics) -> None:
    counts = metrics.plan("rides", ["trips:a", "trips:b", "other/planes:c"])
    metrics.read(counts, 3, [[PRESENT, MISSING, MISSING], [PRESENT, MISSING, NULL], [STALE] * 3])
    shared = [PRESENT] * 2
    metrics.read(counts, 2, [shared, shared, shared])
    gone = [MISSING] * 4
    metrics.read(counts, 4, [gone, gone, gone])
    metrics.read(counts, 0, [[], [], []])
    found = samples(metrics)
    features = {"trips:a": "rides", "trips:b": "rides", "planes:c": "other"}
    for name, project in features.items():
        assert value(found, "tiffin_serving_request_feature_count", project=project, feature_name=name) == 4
    missing = "tiffin_serving_not_found_feature_count"
    assert value(found, missing, project="rides", feature_name="trips:a") == 6
    assert value(found, missing, project="rides", feature_name="trips:b") == 5
    assert value(found, missing, project="other", feature_name="planes:c") == 4
    stale = [key for key in found if key[0] == "tiffin_serving_stale_feature_count"]
    assert [(dict(key[1])["feature_name"], found[key]) for key in stale] == [("planes:c", 3)]
    distribution = "tiffin_serving_request_{}_count_distribution_{}"
    for what, total, bounds in (("entity", 9, {"1.0": 1, "2.0": 2}), ("feature", 12, {"2.0": 0, "5.0": 4})):
        assert value(found, distribution.format(what, "sum"), project="rides") == total
        for bound, count in bounds.items():
            assert value(found, distribution.format(what, "bucket"), project="rides", le=bound) == count
    assert value(found, distribution.format("feature_table", "sum"), project="rides") == 8


@given(
    st.lists(
        st.integers(0, 6).flatmap(
            lambda rows: st.lists(
                st.lists(st.sampled_from(Status), min_size=rows, max_size=rows), min_size=3, max_size=3
            )
        )
    )
)
def test_counts_are_those_of_a_loop_over_every_value(answers: list[list[list[Status]]]) -> None:
    metrics = ServingMetrics()
    names = ["t:a", "t:b", "u:c"]
    counts = metrics.plan("p", names)
    for columns in answers:
        metrics.read(counts, len(columns[0]), columns)
    found = samples(metrics)
    for place, name in enumerate(names):
        for status, metric in ((MISSING, "not_found"), (STALE, "stale")):
            expected = sum(columns[place].count(status) for columns in answers)
            key = (f"tiffin_serving_{metric}_feature_count", (("feature_name", name), ("project", "p")))
            assert found.get(key, 0) == expected


def test_requests_have_a_latency_and_a_status(metrics: ServingMetrics) -> None:
    metrics.request("get_online_features", 200, 0.0004, "rides")
    metrics.request("get_online_features", 422, 0.2, "rides")
    metrics.request("health", 200, 0.00001)
    found = samples(metrics)
    name = "tiffin_serving_request_latency_seconds"
    assert value(found, f"{name}_count", method="get_online_features", project="rides") == 2
    assert value(found, f"{name}_bucket", method="get_online_features", project="rides", le="0.0005") == 1
    assert value(found, f"{name}_sum", method="get_online_features", project="rides") == pytest.approx(0.2004)
    assert value(found, "tiffin_serving_request_count", method="get_online_features", status_code="422") == 1
    assert value(found, "tiffin_serving_request_count", method="health", status_code="200") == 1


def test_what_else_the_online_service_counts(metrics: ServingMetrics) -> None:
    now = 1_700_000_000_123_456
    metrics.watch(lambda: ServingFacts(now, 7, 3))
    metrics.follow(lambda: (5, 1.5))
    metrics.batch(3)
    metrics.pushed("rides", 10)
    metrics.denied("permission")
    metrics.store_error("online", "unavailable")
    metrics.limited("rows")
    found = samples(metrics)
    prefix = "tiffin_serving"
    assert value(found, f"{prefix}_cache_last_updated") == now // 1_000
    assert value(found, f"{prefix}_feature_table_count") == 3
    assert value(found, f"{prefix}_registry_version") == 7
    assert value(found, f"{prefix}_snapshot_age_seconds") == pytest.approx(time.time() - now / 1e6, abs=5)
    assert value(found, f"{prefix}_coalesced_requests_bucket", le="4.0") == 1
    assert value(found, f"{prefix}_pushed_rows_total", project="rides") == 10
    assert value(found, f"{prefix}_auth_denied_total", reason="permission") == 1
    assert value(found, f"{prefix}_store_errors_total", store="online", code="unavailable") == 1
    assert value(found, f"{prefix}_limit_rejections_total", limit="rows") == 1
    assert value(found, f"{prefix}_audit_dropped_total") == 5
    assert value(found, f"{prefix}_access_age_seconds") == 1.5
    assert value(found, f"{prefix}_workers") == 1
    assert value(found, "process_resident_memory_bytes") > 10_000_000
    assert value(found, "process_start_time_seconds") == pytest.approx(time.time(), abs=60)


def test_what_the_registry_service_counts() -> None:
    metrics = CoreMetrics()
    metrics.watch(lambda: CoreFacts(updated=int(time.time() * 1e6), version=9, tables=4, stores=1))
    metrics.request("apply", 409, 0.03)
    metrics.change("default", "apply")
    metrics.token("created")
    found = samples(metrics)
    labels = {"service": "core", "method": "apply", "status_code": "409"}
    assert value(found, "tiffin_core_request_latency_seconds_count", **labels) == 1
    assert value(found, "tiffin_core_feature_set_total") == 4
    assert value(found, "tiffin_core_store_total") == 1
    assert value(found, "tiffin_core_registry_version") == 9
    assert value(found, "tiffin_core_changes_total", project="default", action="apply") == 1
    assert value(found, "tiffin_core_tokens_total", action="created") == 1


def test_names_are_those_of_feast_under_our_prefix(metrics: ServingMetrics) -> None:
    body, _ = metrics.scrape()
    metrics.request("m", 200, 0.1, "p")
    metrics.read(metrics.plan("p", ["t:f"]), 1, [[MISSING]])
    metrics.read(metrics.plan("p", ["t:f"]), 1, [[STALE]])
    metrics.watch(lambda: ServingFacts(0, 0, 0))
    body, _ = metrics.scrape()
    told = {line.split()[2]: line.split()[3] for line in body.decode().splitlines() if line.startswith("# TYPE")}
    for name, kind in {
        "request_latency_seconds": "histogram",
        "request_entity_count_distribution": "histogram",
        "request_feature_count_distribution": "histogram",
        "request_feature_table_count_distribution": "histogram",
        "request_feature_count": "counter",
        "not_found_feature_count": "counter",
        "stale_feature_count": "counter",
        "request_count": "counter",
        "cache_last_updated": "gauge",
        "feature_table_count": "gauge",
    }.items():
        assert told[f"tiffin_serving_{name}"] == kind


# How it is told

BY_PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, TEXT),
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html", TEXT),
        ("application/openmetrics-text", OPEN_METRICS),
        (BY_PROMETHEUS, OPEN_METRICS),
        ("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.1", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=x;;;,,", TEXT),
    ],
)
def test_the_scraper_chooses_the_format(accept: str | None, content_type: str) -> None:
    assert chosen_format(accept) == content_type


def test_both_formats_say_the_same_under_the_same_names(metrics: ServingMetrics) -> None:
    metrics.request('m"\\\n', 200, 0.1, "p")
    metrics.read(metrics.plan("p", ["t:f"]), 1, [[MISSING]])
    plain, open_metrics = (
        {
            line
            for line in metrics.scrape(accept)[0].decode().splitlines()
            if not line.startswith(("#", "process_", "python_"))
        }
        for accept in (TEXT, OPEN_METRICS)
    )
    assert plain == open_metrics
    assert r'tiffin_serving_request_count{method="m\"\\\n",status_code="200"} 1' in plain
    assert value(samples(metrics), "tiffin_serving_request_count", method='m"\\\n', status_code="200") == 1


labels = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.dictionaries(labels, st.floats(0, 1e300) | st.integers(0, 10**15), max_size=5))
def test_any_label_and_number_reads_back(values: dict[str, float]) -> None:
    family = Family("a_total", "counter", 'Help "with"\nlines \\.', ("label",))
    tally = Tally(family)
    for label, number in values.items():
        tally.add((label,), number)
    for content_type, read in ((TEXT, read_text), (OPEN_METRICS, read_open)):
        text = exposed([family], {"a_total": tally.series}, content_type).decode()
        found = {s.labels["label"]: s.value for f in read(text) for s in f.samples}  # type: ignore[operator]
        assert found == values


def test_labels_that_callers_choose_cannot_grow_without_bound() -> None:
    tally = Tally(Family("a_total", "counter", "Help.", ("x", "y"), limit=10))
    for number in range(1_000):
        tally.add((str(number), "y"))
    assert len(tally.series) == 11
    assert tally.series["other", "other"] == [990]
    assert sum(count for (count,) in tally.series.values()) == 1_000


def test_plans_that_come_and_go_are_counted_and_forgotten_though_nobody_looks(metrics: ServingMetrics) -> None:
    for _ in range(3_000):
        metrics.read(metrics.plan("p", ["t:f"]), 1, [[PRESENT]])
    assert len(metrics._cells) < 1_000
    assert value(samples(metrics), "tiffin_serving_request_feature_count", project="p", feature_name="t:f") == 3_000


def test_the_cost_of_a_read_does_not_grow_with_its_features(metrics: ServingMetrics) -> None:
    def seconds(width: int) -> float:
        counts, columns = metrics.plan("p", [f"t:f{n}" for n in range(width)]), [[PRESENT] * 100] * width
        best = 1.0
        for _ in range(20):
            began = time.perf_counter()
            for _ in range(100):
                metrics.read(counts, 100, columns)
            best = min(best, (time.perf_counter() - began) / 100)
        return best

    assert seconds(100) < 5 * seconds(1)
    assert seconds(100) < 30e-6


def test_threads_lose_no_count(metrics: ServingMetrics) -> None:
    counts = metrics.plan("p", ["t:f"])

    def work() -> None:
        for _ in range(2_000):
            metrics.request("m", 200, 0.001)
            metrics.read(counts, 1, [[MISSING]])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        metrics.scrape()
    found = samples(metrics)
    assert value(found, "tiffin_serving_request_count", method="m", status_code="200") == 8_000
    assert value(found, "tiffin_serving_not_found_feature_count", project="p", feature_name="t:f") == 8_000


def test_those_who_are_asked_may_count_at_the_same_time(metrics: ServingMetrics) -> None:
    """A registry that is asked for its version may count an error, with a lock of its own held."""

    def facts() -> ServingFacts:
        metrics.store_error("registry", "unavailable")
        return ServingFacts(0, 1, 1)

    metrics.watch(facts)
    found = samples(metrics)
    assert value(found, "tiffin_serving_store_errors_total", store="registry", code="unavailable") == 1


# Workers


def requests(metrics: ServingMetrics) -> float:
    return value(samples(metrics), "tiffin_serving_request_count", method="m", status_code="200")


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[ServingMetrics]]:
    made = [ServingMetrics(tmp_path) for _ in range(3)]
    for each in made:
        each.start()
    yield made
    for each in made:
        each.close()


def test_whoever_is_asked_answers_for_all(workers: list[ServingMetrics]) -> None:
    versions = [5, 4, 6]
    for number, worker in enumerate(workers):
        worker.watch(
            lambda number=number: ServingFacts(updated=number * 1_000, version=versions[number], tables=number)
        )
        for _ in range(number + 1):
            worker.request("m", 200, 0.1)
    deadline = time.monotonic() + 20
    while requests(workers[0]) < 6:  # the others tell once a second
        assert time.monotonic() < deadline
        time.sleep(0.1)
    found = samples(workers[0])
    assert requests(workers[2]) == 6
    assert value(found, "tiffin_serving_request_latency_seconds_count", method="m", project="") == 6
    assert value(found, "tiffin_serving_workers") == 3
    # What lags behind is shown of the worker that lags most.
    assert value(found, "tiffin_serving_registry_version") == 4
    assert value(found, "tiffin_serving_cache_last_updated") == 0


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    worker = ServingMetrics()
    worker.request("m", 200, 0.1)
    worker.close()
    assert list(tmp_path.glob("*.state"))


def test_counts_of_workers_that_ended_stay_and_their_files_go(tmp_path: Path) -> None:
    asked = ServingMetrics(tmp_path)
    for round_ in range(1, 6):
        worker = ServingMetrics(tmp_path)
        worker.watch(lambda: ServingFacts(0, 1, 1))
        worker.request("m", 200, 0.1)
        worker.close()
        found = samples(asked)
        assert value(found, "tiffin_serving_request_count", method="m", status_code="200") == round_
        assert value(found, "tiffin_serving_workers") == 1
        assert ("tiffin_serving_registry_version", ()) not in found
    assert len(list(tmp_path.iterdir())) == 4  # lock and state of the one that lives, of the retired, and the turns
    asked.close()


def _work(folder: Path, told: Any, killed: Any) -> None:
    metrics = ServingMetrics(folder)
    for _ in range(10):
        metrics.request("m", 200, 0.001)
    metrics.scrape()
    told.release()
    killed.acquire()


def test_a_worker_that_was_killed_is_counted_once(tmp_path: Path) -> None:
    told, killed = _forks.Semaphore(0), _forks.Semaphore(0)
    processes = [_forks.Process(target=_work, args=(tmp_path, told, killed)) for _ in range(4)]
    for process in processes:
        process.start()
        assert told.acquire(timeout=30)
    asked = ServingMetrics(tmp_path)
    assert requests(asked) == 40
    for process in processes:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert requests(asked) == 40
    assert value(samples(asked), "tiffin_serving_workers") == 1
    asked.close()


def test_retiring_that_was_cut_short_counts_nobody_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = ServingMetrics(tmp_path)
    worker.request("m", 200, 0.1)
    worker.close()
    asked = ServingMetrics(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", _no_more)
        with pytest.raises(_Cut):
            asked.scrape()
    for _ in range(3):
        assert requests(asked) == 1
    asked.close()


class _Cut(BaseException):
    pass


def _no_more(*_: object, **__: object) -> None:
    raise _Cut


def test_what_another_version_wrote_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "1-x.state").write_bytes(b"of another kind")
    older = [Family("gone_total", "counter", "Gone."), Family("tiffin_serving_request_count", "counter", "Other.")]
    board = Board(tmp_path, older)
    board.write({"gone_total": {(): [1.0]}, "tiffin_serving_request_count": {("m", "200"): [1.0]}})
    asked = ServingMetrics(tmp_path)
    asked.request("m", 200, 0.1)
    assert requests(asked) == 2
    board.close()
    asked.close()


def test_without_the_folder_a_worker_answers_for_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    worker = ServingMetrics(folder)
    worker.request("m", 200, 0.1)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert requests(worker) == 1
    assert "this worker alone" in caplog.text
    worker.close()


def test_gauges_of_workers_are_put_together_as_each_says() -> None:
    families = {rule: Family(rule, "gauge", "Help.", merge=rule) for rule in ("sum", "min", "max")}  # type: ignore[arg-type]
    states = [{rule: {(): [number]} for rule in families} for number in (3.0, 1.0, 2.0)]
    assert merged(states, families) == {"sum": {(): [6.0]}, "min": {(): [1.0]}, "max": {(): [3.0]}}


def test_bounds_of_feast() -> None:
    assert ROW_BOUNDS == (1, 2, 5, 10, 20, 50, 100, 200)
    assert base.INTERVAL == 1.0


@pytest.mark.parametrize("metrics", [ServingMetrics(), CoreMetrics()])
def test_every_metric_is_documented_with_its_labels(metrics: ServingMetrics | CoreMetrics) -> None:
    docs = Path(__file__).parents[2] / "docs"
    page = "\n".join((docs / name).read_text() for name in ("operations.md", "monitoring.md"))
    for family in metrics._families:
        names = (family.name, family.name.removeprefix(metrics._prefix))
        (line,) = [line for line in page.splitlines() if line.startswith("|") and any(f"`{n}`" in line for n in names)]
        if not family.name.startswith(("process", "python")):
            described = ", ".join(family.labels)
            assert f"| {family.kind}{': ' if described else ''}{described} |" in line
