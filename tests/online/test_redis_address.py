"""URIs of Redis: what they mean, and that no message shows a secret of theirs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.online.redis_servers import PASSWORD
from tiffin.errors import InvalidConfig
from tiffin.online.redis import open_store
from tiffin.online.redis_address import Address, parse, uri_of


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("redis://host", Address(hosts=(("host", 6379),))),
        ("redis://host:1/2", Address(hosts=(("host", 1),), database=2)),
        ("redis://host?db=3", Address(hosts=(("host", 6379),), database=3)),
        ("redis://", Address(hosts=(("127.0.0.1", 6379),))),
        ("redis://[::1]:7", Address(hosts=(("::1", 7),))),
        ("REDISS://u:p%40@h", Address(hosts=(("h", 6379),), tls=True, username="u", password="p@")),
        ("redis://:p@h", Address(hosts=(("h", 6379),), password="p")),
        ("redis+unix:///run/my%20redis.sock?db=1", Address(kind="unix", path="/run/my redis.sock", database=1)),
        ("redis+cluster://a:1,b,[::2]:3", Address(kind="cluster", hosts=(("a", 1), ("b", 6379), ("::2", 3)))),
        (
            "rediss+sentinel://u:p@a,b:5/mine/4?sentinel_password=s",
            Address(
                kind="sentinel",
                hosts=(("a", 26379), ("b", 5)),
                service="mine",
                database=4,
                tls=True,
                username="u",
                password="p",
                sentinel_password="s",
            ),
        ),
        ("redis+sentinel://a/mine", Address(kind="sentinel", hosts=(("a", 26379),), service="mine")),
        (
            "rediss://h?ssl_ca_certs=/etc%2Fpasswd&ssl_verify=false&timeout=0.25&prefix=team-1",
            Address(
                hosts=(("h", 6379),),
                tls=True,
                ssl_ca_certs="/etc/passwd",
                ssl_verify=False,
                timeout=0.25,
                prefix="team-1",
            ),
        ),
    ],
)
def test_what_a_uri_means(uri: str, address: Address) -> None:
    assert parse(uri) == address


@pytest.mark.parametrize(
    "uri",
    [
        "redis+tcp://h",
        "rediss+unix:///s",
        "redis+unix://",
        "redis://h:0x1",
        "redis://h:70000",
        "redis://h/one",
        "redis://h/-1",
        "redis+cluster://h/1",
        "redis+sentinel://h",
        "redis://h?timeout=0",
        "redis://h?timeout=nan",
        "redis://h?timeout=soon",
        "redis://h?nonsense=1",
        "redis://h?host=other",
        "redis://h?prefix={x}",
        "redis://h?prefix=",
        "redis://h?prefix=a*",
        "redis://a b",
        "redis://h?ssl_verify=perhaps",
        "redis://[::1",
    ],
)
def test_what_is_no_address(uri: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse(uri)
    assert caught.value.field == "online_store"
    assert caught.value.hint


@pytest.mark.parametrize("tail", ["h:0x1", "h/one", "h?nonsense=1", "h?timeout=soon", "[::1"])
def test_messages_show_no_password(tail: str) -> None:
    for secret in ("s3cret", quote(PASSWORD, safe="")):
        with pytest.raises(InvalidConfig) as caught:
            parse(f"redis://user:{secret}@{tail}")
        assert "s3cret" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
        end = "&" if "?" in tail else "?"
        with pytest.raises(InvalidConfig) as caught:
            parse(f"redis://{tail}{end}sentinel_password={secret}")
        assert "s3cret" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"


def test_neither_address_nor_store_shows_a_secret() -> None:
    uri = "redis+sentinel://u:s3cret@h:1/mine?sentinel_password=s3cret"
    address = parse(uri)
    assert "s3cret" not in f"{address} {address!r} {open_store(uri)!r}"


@given(password=st.text(min_size=1), port=st.integers(1, 65535), tls=st.booleans())
def test_options_make_a_uri(password: str, port: int, tls: bool) -> None:
    address = parse(uri_of("host", port=port, tls=tls, password=password))
    assert address == Address(hosts=(("host", port),), tls=tls, password=password)


def test_a_host_may_carry_its_port_or_be_a_uri() -> None:
    assert uri_of("host:7") == "redis://host:7/0"
    assert uri_of("[::1]:7", password="p") == "redis://:p@[::1]:7/0"
    assert uri_of("redis+cluster://a,b", password="p") == "redis+cluster://a,b"


def test_opening_connects_to_nothing(tmp_path: Path) -> None:
    for uri in ("redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1", f"redis+unix://{tmp_path}/none"):
        open_store(uri).close()
