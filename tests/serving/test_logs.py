"""Logs: their two forms, ids of requests, and credentials that never appear."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.config import Config
from tiffin.errors import InvalidConfig
from tiffin.serving import logs
from tiffin.serving.logs import AccessLog, begin_request, configure, request_id, scrubbed

SECRET = "s3cr-et_w0rd.x/y"
HEX = "0123456789abcdef" * 4


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.level, {name: logging.getLogger(name).level for name in logs._TALKATIVE}
    begin = logs._request_id.set("")
    yield io.StringIO()
    logs._request_id.reset(begin)
    for handler in [each for each in root.handlers if each.get_name() == "tiffin"]:
        root.removeHandler(handler)
    root.setLevel(before[0])
    for name, level in before[1].items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_a_json_object(stream: io.StringIO) -> None:
    configure(json=True, stream=stream)
    begin_request(b"abc-1")
    AccessLog().write("POST", "/v1/features/online", 200, 0.0012345, "ann")
    logging.getLogger("tiffin.x").warning("é %s", "\n")
    first, second = lines(stream)
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "info",
        "logger": "tiffin.access",
        "message": "request",
        "request_id": "abc-1",
        "method": "POST",
        "route": "/v1/features/online",
        "status": 200,
        "ms": 1.234,
        "principal": "ann",
    }
    assert (second["level"], second["message"], second["request_id"]) == ("warning", "é \n", "abc-1")


@given(st.text(st.characters()))
def test_any_text_fits_a_line_of_ascii(text: str) -> None:
    record = logging.makeLogRecord({"name": "x", "msg": "%s", "args": (text,), "levelname": "INFO", "route": text})
    line = logs.JsonFormatter().format(record)
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line)["message"] == json.loads(line)["route"] == scrubbed(text)
    assert len(logs.PlainFormatter().format(record).splitlines()) == 1


def test_a_plain_line_is_one_line_whatever_it_says(stream: io.StringIO) -> None:
    configure(json=False, stream=stream)
    begin_request("abc-1")
    logging.getLogger("tiffin.x").info("forged\n2026-01-01 INFO\r\x1b[31m red")
    AccessLog().write("GET", "/health", 503, 0.1)
    first, second = stream.getvalue().splitlines()
    assert r"forged\x0a2026-01-01 INFO\x0d\x1b[31m red" in first
    assert second.endswith("tiffin.access request method=GET route=/health status=503 ms=100.0 [abc-1]")


def test_nothing_but_known_fields_is_carried(stream: io.StringIO) -> None:
    configure(json=True, stream=stream)
    logging.getLogger("x").info("hi", extra={"body": SECRET, "authorization": SECRET, "status": 200})
    (line,) = lines(stream)
    assert set(line) == {"time", "level", "logger", "message", "request_id", "status"}


def test_a_second_configuration_replaces_the_first(stream: io.StringIO) -> None:
    configure(json=True, stream=io.StringIO())
    configure(json=True, level="warning", stream=stream)
    logging.getLogger("x").info("no")
    logging.getLogger("x").warning("yes")
    logging.getLogger("httpx").info("HTTP Request: GET ...")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", stacklevel=1)
    assert [line["message"][:3] for line in lines(stream)] == ["yes", lines(stream)[1]["message"][:3]]
    assert "careful" in lines(stream)[1]["message"]


@pytest.mark.parametrize(
    ("options", "field"),
    [({"log_format": "xml"}, "log_format"), ({"log_level": "loud"}, "log_level")],
)
def test_options_that_cannot_be_used(options: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        logs.configure_from(Config(options))
    assert caught.value.field == field
    with pytest.raises(InvalidConfig):
        AccessLog.of(Config(access_log="2"), 1.0)


def test_options_choose_form_level_and_share(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    logs.configure_from(Config(log_level="error"))  # not a terminal: JSON
    logging.getLogger("x").error("told")
    logging.getLogger("x").warning("not told")
    assert [line["message"] for line in lines(stream)] == ["told"]
    assert not AccessLog.of(Config(), 0.0).wants(200)
    assert AccessLog.of(Config(), 1.0).wants(200)
    assert AccessLog.of(Config(access_log="1"), 0.0).wants(200)


# Ids of requests


@pytest.mark.parametrize("sane", ["a", "0123-abc_DEF.x:y@z", "x" * 128])
def test_a_sane_id_of_the_caller_is_kept(sane: str) -> None:
    assert begin_request(sane) == begin_request(sane.encode()) == request_id() == sane


@given(st.none() | st.binary() | st.text())
def test_any_other_id_is_replaced(given: bytes | str | None) -> None:
    chosen = begin_request(given)
    assert logs._SANE.fullmatch(chosen)


def test_ids_differ_and_belong_to_their_task() -> None:
    async def answer() -> tuple[str, str, str]:
        mine = begin_request(None)
        await asyncio.sleep(0)
        return mine, request_id(), await asyncio.to_thread(request_id)

    async def both() -> list[tuple[str, str, str]]:
        return await asyncio.gather(*(answer() for _ in range(10)))

    found = asyncio.run(both())
    assert all(len(set(ids)) == 1 for ids in found)
    assert len({ids[0] for ids in found}) == 10


# Shares


def test_a_share_is_logged_and_faults_always() -> None:
    quarter = AccessLog(0.25)
    assert sum(quarter.wants(200) for _ in range(1_000)) == 250
    assert not any(AccessLog(0.0).wants(422) for _ in range(10))
    assert AccessLog(0.0).wants(500)
    for wrong in (-0.1, 1.1):
        with pytest.raises(InvalidConfig):
            AccessLog(wrong)


def test_a_fault_is_an_error_and_a_dependency_that_is_away_is_not(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tiffin.access"):
        for status in (200, 500, 503):
            AccessLog().write("GET", "/", status, 0.1)
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR", "INFO"]


# Credentials


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://ann:{SECRET}@host/db",
        f"redis://:{SECRET}@host:6379/0?x=y",
        f"redis://:pa@ss/{SECRET}@host:6379/0",
        f"Authorization: Bearer {SECRET}",
        f"{{'authorization': 'Bearer {SECRET}'}}",
        f"[(b'authorization', b'Bearer {SECRET}')]",
        f"[(b'authorization', b'{SECRET}')]",
        f"authorization=Basic {SECRET}",
        f'"auth_token": "{SECRET}"',
        f"auth_token={SECRET}&x=1",
        f"GET /x?token={SECRET}&y=2",
        f"password = {SECRET};",
        f"redis_password: '{SECRET}'",
        f"oauth_client_secret='{SECRET}'",
        f"https://h/x?access_key={SECRET}",
        f"PASSWORD={SECRET}",
        f"secret:{SECRET})",
        f"unknown: tiffin_ab12cd34_{HEX}",
    ],
)
def test_credentials_are_hidden_wherever_they_stand(text: str, stream: io.StringIO) -> None:
    for form in (True, False):
        configure(json=form, stream=stream)
        logging.getLogger("x").info("before %s after", text)
        try:
            raise ValueError(text)
        except ValueError:
            logging.getLogger("x").exception("failed")
        AccessLog().write("GET", text, 200, 0.1, text)
    written = stream.getvalue()
    assert SECRET not in written
    assert HEX[8:] not in written
    assert written.count("before") == 2


@pytest.mark.parametrize(
    "text",
    [
        "http://host:6565/api/v1/projects",
        "3 tokens are known",
        "the key driver_id of table trips:count",
        "NotFound: There is no token 'ci'.",
        "sqlite:////home/me/registry.db",
        "a@b.c wrote",
        "tiffin_serving_request_feature_table_count_distribution",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert scrubbed(text) == text


@given(st.text())
def test_any_text_can_be_scrubbed_and_is_so_once(text: str) -> None:
    once = scrubbed(text)
    assert scrubbed(once) == once


@pytest.mark.parametrize("pattern", ["://a:", "token", "bearer ", "a_", "password=", "\"'"])
def test_long_texts_take_no_long_time(pattern: str) -> None:
    scrubbed(pattern * 20_000)
