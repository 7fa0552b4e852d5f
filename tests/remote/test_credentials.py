"""Tokens: where they come from, how long they are kept, and that nobody else sees them."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs

import pytest

from tests.remote.scripted import Asked, Scripted, answer, scripted
from tests.servers.process import free_port
from tiffin import errors
from tiffin.config import Config
from tiffin.remote.async_http import AsyncConnection
from tiffin.remote.credentials import credentials
from tiffin.remote.http import Connection
from tiffin.remote.services import core_connection

SECRET = "cl1ent-s3cret"


class Issuer:
    """A token server: the tokens are numbered, and live ``life`` seconds."""

    def __init__(self, life: float | None = 3600) -> None:
        self._life = life
        self._lock = threading.Lock()
        self.given = 0

    def __call__(self, asked: Asked) -> bytes:
        with self._lock:
            self.given += 1
            told: dict[str, Any] = {"access_token": f"token-{self.given}", "token_type": "Bearer"}
        if self._life is not None:
            told["expires_in"] = self._life
        return answer(json.dumps(told).encode())


def oauth(server: Scripted, **other: str) -> Config:
    return Config(
        enable_auth="true",
        auth_provider="oauth",
        oauth_client_id="me",
        oauth_client_secret=SECRET,
        oauth_token_request_url=f"http://{server.address}/realm/token?tenant=1",
        **other,
    )


def test_without_options_nothing_is_sent() -> None:
    assert credentials(Config()) is None


def test_a_given_token_is_sent_as_it_is() -> None:
    token = credentials(Config(auth_token="tiffin_abc"))
    assert token is not None
    assert token() == "tiffin_abc"
    assert "tiffin_abc" not in repr(token)


@pytest.mark.parametrize("provider", ["", "kerberos"])
def test_credentials_must_come_from_somewhere(provider: str) -> None:
    with pytest.raises(errors.InvalidConfig) as caught:
        credentials(Config(enable_auth="true", auth_provider=provider))
    assert caught.value.field == "auth_provider"


@pytest.mark.parametrize("missing", ["oauth_client_id", "oauth_client_secret", "oauth_token_request_url"])
def test_what_oauth_needs(missing: str) -> None:
    given = dict.fromkeys(("oauth_client_id", "oauth_client_secret", "oauth_token_request_url"), "http://h/t")
    with pytest.raises(errors.InvalidConfig) as caught:
        credentials(Config({**given, missing: None, "enable_auth": "true", "auth_provider": "oauth"}))
    assert caught.value.field == missing


def test_client_credentials_are_asked_for_as_rfc_6749_says() -> None:
    with scripted(Issuer()) as server:
        token = credentials(oauth(server, oauth_audience="features"))
        assert token is not None
        assert token() == "token-1"
    [asked] = server.asked
    assert (asked.method, asked.target) == ("POST", "/realm/token?tenant=1")
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["me"],
        "client_secret": [SECRET],
        "audience": ["features"],
    }


def test_tokens_are_kept_until_shortly_before_they_end() -> None:
    issuer = Issuer(life=3600)
    with scripted(issuer) as server:
        token = credentials(oauth(server))
        assert token is not None
        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(lambda _: token(), range(50))) == {"token-1"}
    assert issuer.given == 1


@pytest.mark.parametrize("life", [0, 0.04])
def test_tokens_that_end_are_asked_for_again(life: float) -> None:
    import time

    with scripted(Issuer(life=life)) as server:
        token = credentials(oauth(server))
        assert token is not None
        assert token() == "token-1"
        time.sleep(0.05)
        assert token() == "token-2"


def test_a_token_that_the_service_refuses_is_renewed_once() -> None:
    def guarded(asked: Asked) -> bytes:
        if asked.headers["authorization"] == "Bearer token-2":
            return answer(b'"welcome"')
        return answer(b'{"code":"unauthenticated","message":"The credentials have expired."}', "401 Unauthorized")

    with scripted(Issuer()) as server, scripted(guarded) as service:
        connection = Connection(service.address, token=credentials(oauth(server)))
        assert connection.post("/change", {}) == "welcome"
        connection.close()

        async def run() -> Any:
            asynchronous = AsyncConnection(service.address, token=credentials(oauth(server)))
            try:
                return await asynchronous.get("/x")
            finally:
                await asynchronous.aclose()

        with pytest.raises(errors.Unauthenticated):
            asyncio.run(run())  # tokens 3 and 4, both refused
    assert len(server.asked) == 4


def test_a_refusal_says_why_and_nothing_secret(caplog: pytest.LogCaptureFixture) -> None:
    body = json.dumps({"error": "invalid_client", "error_description": "The client is locked"}).encode()
    with caplog.at_level(logging.DEBUG), scripted(lambda _: answer(body, "401 Unauthorized")) as server:
        token = credentials(oauth(server))
        assert token is not None
        with pytest.raises(errors.Unauthenticated, match="The client is locked") as caught:
            token()
    assert SECRET not in f"{caught.value} {token!r} {caplog.text}"


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"access_token": 5}', b"[]"])
def test_answers_that_are_no_token(body: bytes) -> None:
    with scripted(lambda _: answer(body)) as server:
        token = credentials(oauth(server))
        assert token is not None
        with pytest.raises(errors.Unavailable) as caught:
            token()
    assert caught.value.field == "oauth_token_request_url"


def test_a_token_server_that_is_down() -> None:
    config = Config(
        enable_auth="true",
        auth_provider="oauth",
        oauth_client_id="me",
        oauth_client_secret=SECRET,
        oauth_token_request_url=f"http://127.0.0.1:{free_port()}/token",
        core_url="127.0.0.1:1",
    )
    with pytest.raises(errors.Unavailable, match="token service") as caught:
        core_connection(config).get("/x")
    assert caught.value.field == "oauth_token_request_url"


def test_google_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.oauth2", None)
    token = credentials(Config(enable_auth="true", auth_provider="google"))
    assert token is not None
    with pytest.raises(errors.MissingDependency, match="google-auth"):
        token()


def test_google_gives_id_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    from google.oauth2 import id_token

    monkeypatch.setattr(id_token, "fetch_id_token", lambda _, audience: f"id-token-for-{audience}")
    token = credentials(Config(enable_auth="true", auth_provider="google", oauth_audience="features"))
    assert token is not None
    assert token() == "id-token-for-features"
