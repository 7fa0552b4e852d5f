"""What a client tells when services are down, are others, or answer what none of Tiffin's would."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.remote.scripted import answer, scripted
from tests.servers.process import free_port
from tests.servers.services import Service, running
from tiffin import Client, Entity, Feature, FeatureTable, ValueType, errors
from tiffin.errors import TiffinError, Unavailable

REFS, ROWS = ["drivers:trips"], [{"driver": 1}]
TABLE = [
    Entity("driver", value_type=ValueType.INT64),
    FeatureTable("drivers", ["driver"], [Feature("trips", ValueType.INT64)]),
]


def failure(call: Callable[[], Any], *, within: float = 5.0) -> TiffinError:
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        call()
    assert time.monotonic() - began < within
    return caught.value


def test_the_registry_service_is_down(home: Path) -> None:
    with Client(home=str(home), core_url=f"127.0.0.1:{free_port()}") as client:
        for call in (client.list_entities, client.list_projects, client.list_jobs, client.version):
            assert failure(call).field == "core_url"
        assert failure(lambda: client.apply(TABLE)).field == "core_url"
        assert failure(lambda: client.ingest("drivers", None)).field == "core_url"


def test_the_online_service_is_down(home: Path) -> None:
    with Client(home=str(home), serving_url=f"127.0.0.1:{free_port()}") as client:
        error = failure(lambda: client.get_online_features(REFS, ROWS))
    assert error.field == "serving_url"
    assert error.message.startswith("The online service at http://127.0.0.1:")


def test_one_service_is_taken_for_the_other(home: Path, tmp_path: Path) -> None:
    core, online = Service("core", tmp_path / "core"), Service("online", tmp_path / "online")
    with running(core, online), Client(home=str(home), core_url=online.address, serving_url=core.address) as client:
        for call in (client.list_entities, lambda: client.get_online_features(REFS, ROWS)):
            with pytest.raises(TiffinError) as caught:
                call()
            assert caught.value.status < 500 or isinstance(caught.value, Unavailable)


def test_definitions_that_are_known_outlast_the_registry_service(home: Path, tmp_path: Path) -> None:
    core = Service("core", tmp_path / "core")
    with running(core), Client(home=str(home), core_url=core.address) as client:
        client.apply(TABLE)
        assert [table.name for table in client.list_feature_tables()] == ["drivers"]
        core.kill()
        time.sleep(1.1)  # older than a snapshot is used unasked
        assert [table.name for table in client.list_feature_tables()] == ["drivers"]
        failure(lambda: client.apply(FeatureTable("more", ["driver"], [Feature("x", ValueType.INT64)])))
        core.start()
        client.apply(FeatureTable("more", ["driver"], [Feature("x", ValueType.INT64)]))
        assert [table.name for table in client.list_feature_tables()] == ["drivers", "more"]


WHOLE: dict[str, Any] = {
    "metadata": {"rows": 1},
    "entities": [{"name": "driver", "type": "INT64", "values": [1]}],
    "features": [
        {"name": "drivers:trips", "type": "INT64", "values": [5], "statuses": ["PRESENT"], "event_timestamps": [0]}
    ],
}


def changed(**parts: Any) -> bytes:
    return json.dumps(WHOLE | parts).encode()


STRANGE = {
    "a page": b"<html>",
    "half an answer": changed()[:-20],
    "another object": b"{}",
    "a list": b"[1]",
    "a status that there is not": changed(features=[WHOLE["features"][0] | {"statuses": ["MAYBE"]}]),
    "a type that there is not": changed(features=[WHOLE["features"][0] | {"type": "MONEY"}]),
    "an entity's type that there is not": changed(entities=[WHOLE["entities"][0] | {"type": "MONEY"}]),
    "fewer rows than were asked for": changed(metadata={"rows": 0}),
    "columns of other lengths": changed(features=[WHOLE["features"][0] | {"values": [5, 6]}]),
    "bytes that are no base64": changed(features=[WHOLE["features"][0] | {"type": "BYTES", "values": ["%"]}]),
    "texts that are no numbers": changed(features=[WHOLE["features"][0] | {"type": "DOUBLE", "values": ["x"]}]),
}


@pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE)
def test_answers_that_are_none(home: Path, body: bytes) -> None:
    with scripted(lambda _: answer(body)) as server, Client(home=str(home), serving_url=server.address) as client:
        error = failure(lambda: client.get_online_features(REFS, ROWS))
    assert error.field == "serving_url"


def test_the_answer_that_these_differ_from(home: Path) -> None:
    with scripted(lambda _: answer(changed())) as server, Client(home=str(home), serving_url=server.address) as client:
        assert client.get_online_features(REFS, ROWS).to_dict() == {"driver": [1], "drivers:trips": [5]}


def test_a_slow_service_and_the_option_that_bounds_it(home: Path) -> None:
    def late(_: Any) -> bytes:
        time.sleep(1.0)
        return answer(changed())

    with (
        scripted(late) as server,
        Client(home=str(home), serving_url=server.address, grpc_connection_timeout=0.3) as client,
    ):
        error = failure(lambda: client.get_online_features(REFS, ROWS), within=0.9)
    assert "0.3 s" in error.message


def test_a_busy_service_is_asked_again(home: Path) -> None:
    answers = [answer(b'{"code":"unavailable","message":"busy"}', "503 Busy", retry_after="0.1"), answer(changed())]
    with scripted(lambda _: answers.pop(0)) as server, Client(home=str(home), serving_url=server.address) as client:
        assert client.get_online_features(REFS, ROWS).columns.rows == 1
    assert not answers


def test_refused_tokens(home: Path, tmp_path: Path) -> None:
    core = Service("core", tmp_path / "core", auth="tokens")
    with running(core):
        for token in (None, "tiffin_unknown"):
            with Client(home=str(home), core_url=core.address, auth_token=token) as client:
                with pytest.raises(errors.Unauthenticated) as caught:
                    client.list_entities()
                assert "tiffin_unknown" not in str(caught.value)


def test_tables_whose_history_each_machine_would_keep_for_itself(home: Path, tmp_path: Path) -> None:
    core = Service("core", tmp_path / "core")
    with running(core):
        options = {"core_url": core.address, "online_store": f"lmdb://{tmp_path}/online"}
        with Client(options, home=str(home)) as client:
            client.apply(TABLE)
            for call in (
                lambda: client.push("drivers", None),
                lambda: client.ingest("drivers", None),
                lambda: client.materialize(),
                lambda: client.latest(REFS),
            ):
                with pytest.raises(errors.FailedPrecondition) as caught:
                    call()
                assert caught.value.field == "offline_location"
            assert client.get_online_features(REFS, ROWS).to_dict() == {"driver": [1], "drivers:trips": [None]}
        with Client(options, home=str(home), offline_location=str(tmp_path / "offline")) as client:
            assert client.materialize().rows_written == 0
