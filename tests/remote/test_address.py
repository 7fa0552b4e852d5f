"""Where services listen, as users write it."""

from __future__ import annotations

import pytest

from tiffin.errors import InvalidConfig
from tiffin.remote.address import parse_address
from tiffin.remote.http import Connection


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("features", "http://features:6565"),
        ("features:7000", "http://features:7000"),
        (" features.example.com:443 ", "https://features.example.com:443"),
        ("http://features", "http://features:6565"),
        ("http://features:443", "http://features:443"),
        ("https://features", "https://features:443"),
        ("HTTPS://features:6565/", "https://features:6565"),
        ("https://features/team/a/", "https://features:443/team/a"),
        ("127.0.0.1", "http://127.0.0.1:6565"),
        ("[::1]", "http://[::1]:6565"),
        ("[fe80::1]:443", "https://[fe80::1]:443"),
    ],
)
def test_what_users_write(text: str, url: str) -> None:
    assert str(parse_address(text, default_port=6565)) == url


def test_tls_is_spoken_where_it_is_asked_for() -> None:
    assert str(parse_address("features", default_port=6566, tls=True)) == "https://features:6566"
    with pytest.raises(InvalidConfig, match="TLS is asked for"):
        parse_address("http://features", default_port=6566, tls=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ":6565",
        "a b:6565",
        "ftp://features",
        "features:99999",
        "features:x",
        "features:0",
        "h?x=1",
        "h#x",
        "h\ni",
        "http://",
    ],
)
def test_what_names_no_service(text: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_address(text, default_port=6565, field="core_url")
    assert caught.value.field == "core_url"


def test_passwords_are_no_part_of_an_address_and_are_not_repeated() -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_address("https://me:hunter2@features", default_port=6565)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "local"), [("localhost", True), ("127.0.0.9", True), ("[::1]", True), ("h", False)]
)
def test_which_machine_is_meant(address: str, local: bool) -> None:
    assert parse_address(address, default_port=1).is_loopback is local


def test_each_service_has_its_port() -> None:
    assert str(Connection("h", what="core").address) == "http://h:6565"
    assert str(Connection("h", what="online").address) == "http://h:6566"
