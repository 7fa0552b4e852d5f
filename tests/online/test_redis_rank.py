"""Ranks are compared as bytes, whatever locale the server was started in."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.online.workers import TABLE
from tests.servers.install import need_charmaps
from tests.servers.redis import RedisServer
from tiffin.online.redis import open_store
from tiffin.online.redis_store import RedisStore

#: Lower and upper case are neighbours here, and letters with marks stand among those without: not so as bytes.
_LOCALE = """comment_char %
escape_char /
LC_COLLATE
collating-symbol <one>
order_start forward
<U0061>
<U0041>
<U0062>
<U0042>
order_end
END LC_COLLATE
"""

edges = st.sampled_from([b"\0", b"\1", b"\x7f", b"\x80", b"\xc3\xa9", b"\xff", b"a", b"A", b"b", b"B"])
ranks = st.lists(edges | st.binary(min_size=1, max_size=8), min_size=32, max_size=40).map(lambda p: b"".join(p)[:32])
#: Ranks that differ late and little.
near = st.tuples(ranks, st.integers(0, 31), st.integers(0, 255)).map(
    lambda t: (t[0], t[0][: t[1]] + bytes([t[2]]) + t[0][t[1] + 1 :])
)


def _folder_of_locale(folder: Path) -> Path:
    """A folder with the locale xx_XX."""
    need_charmaps()
    source = folder / "words"
    source.write_text(_LOCALE)
    made = folder / "xx_XX"
    command = ["localedef", "-c", "-i", str(source), "-f", "UTF-8", str(made)]
    subprocess.run(command, capture_output=True, check=False)
    assert (made / "LC_COLLATE").exists()
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisStore]:
    folder = tmp_path_factory.mktemp("locale")
    server = RedisServer(folder / "server")
    server._environment |= {"LC_ALL": "xx_XX", "LOCPATH": str(_folder_of_locale(folder))}
    server.start()
    store = open_store(server.uri)
    yield store
    store.close()
    server.kill()


def test_this_server_would_compare_strings_otherwise(store: RedisStore) -> None:
    """Else the test below proves nothing of locales."""
    port = store._address.hosts[0][1]
    client = redis.Redis(port=port)
    as_text = client.eval("return (ARGV[1] < ARGV[2]) and 1 or 0", 0, b"a", b"B")
    client.close()
    assert as_text == 1


@given(pair=near | st.tuples(ranks, ranks))
@example((b"\x80" + bytes(31), b"\x7f" + b"\xff" * 31))
@example((bytes(32), bytes(31) + b"\1"))
@example((b"a" * 32, b"B" * 32))
@example((b"\xff" * 31 + b"\xfe", b"\xff" * 32))
@example((b"\0" + b"\xff" * 31, b"\1" + bytes(31)))
@settings(max_examples=300)
def test_the_winner_is_that_of_bytes(store: RedisStore, pair: tuple[bytes, bytes]) -> None:
    first, second = pair
    store.delete(TABLE, [b"k"])
    assert store.write(TABLE, [(b"k", first + b"1")]).written == 1
    assert store.write(TABLE, [(b"k", second + b"2")]).written == int(second >= first)
    assert store.read(TABLE, [b"k"]) == [second + b"2" if second >= first else first + b"1"]
