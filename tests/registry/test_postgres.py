"""PostgreSQL as a dependency: how it is named, what happens while it is away, and that nothing waits for ever."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from tests.registry.places import PostgresPlace
from tests.servers.postgres import PostgresServer
from tiffin import Entity
from tiffin.errors import (
    ConcurrentChange,
    FailedPrecondition,
    InvalidConfig,
    InvalidData,
    MissingDependency,
    StorageError,
    TiffinError,
    Unavailable,
)
from tiffin.registry import postgres as module
from tiffin.registry import tables
from tiffin.registry.database import open_database, reading, writing
from tiffin.registry.registry import Registry
from tiffin.registry.sql import open_registry
from tiffin.testing.registry import driver, in_threads

SECRET = "s3cr:et/w@rd"
QUOTED = "s3cr%3Aet%2Fw%40rd"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this module alone, which may crash, and which asks some users for a password."""
    server = PostgresServer()
    try:
        server.start()
        rules = server.folder / "data" / "pg_hba.conf"
        rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        server.sql(f"CREATE ROLE guarded LOGIN SUPERUSER PASSWORD '{SECRET}'")
        server.sql("CREATE ROLE weak LOGIN")
        server.sql("SELECT pg_reload_conf()")
        yield server
    finally:
        server.remove()


@pytest.fixture
def place(server: PostgresServer) -> PostgresPlace:
    return PostgresPlace(server)


@pytest.fixture
def engine(place: PostgresPlace) -> Iterator[sa.Engine]:
    engine = open_database(place.url)
    yield engine
    engine.dispose()


def url(place: PostgresPlace, user: str = "postgres", database: str | None = None) -> str:
    return f"postgresql://{user}@127.0.0.1:{place.server.port}/{database or place.name}"


def cut(place: PostgresPlace) -> None:
    """End all connections to the database."""
    place.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def refused(kind: type[TiffinError], opened: Callable[[], object]) -> str:
    """The words of the error, which never hold the password."""
    with pytest.raises(kind) as caught:
        opened()
    chain: list[BaseException] = [caught.value]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(before)
    for error in chain:
        for words in (str(error), repr(error), str(getattr(error, "orig", ""))):
            assert SECRET not in words
            assert QUOTED not in words
    return str(caught.value)


# Naming it


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_plain_url_means_psycopg_3(place: PostgresPlace, scheme: str) -> None:
    engine = open_database(url(place).replace("postgresql", scheme, 1))
    assert engine.driver == "psycopg"
    assert place.rows("select version_num from alembic_version") == [(tables.SCHEMA_VERSION,)]
    engine.dispose()


@pytest.mark.parametrize(
    "wrong",
    [
        f"postgresql+psycopg2://ann:{QUOTED}@h/d",
        f"mysql://ann:{SECRET}@h/d",
        f"postgresql://ann:{SECRET}@h:port/d",
        f"//ann:{SECRET}@h/d",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(wrong: str) -> None:
    words = refused(InvalidConfig, lambda: open_database(wrong))
    assert "postgresql://" in words


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDependency, match=r"tiffin\[postgres\]"):
        open_database("postgresql://h/d")


def test_a_wrong_password_a_wrong_user_and_a_missing_database_are_told_apart(place: PostgresPlace) -> None:
    assert "password authentication failed" in refused(
        InvalidConfig, lambda: open_database(url(place, f"guarded:{QUOTED}x"))
    )
    assert "nobody" in refused(InvalidConfig, lambda: open_database(url(place, f"nobody:{QUOTED}")))
    assert "nowhere" in refused(InvalidConfig, lambda: open_database(url(place, f"guarded:{QUOTED}", "nowhere")))
    open_database(url(place, f"guarded:{QUOTED}")).dispose()


def test_a_role_that_may_not_write_is_told_so(place: PostgresPlace, engine: sa.Engine) -> None:
    with pytest.raises(StorageError, match="permission denied"):
        open_registry(url(place, "weak")).load()
    place.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO weak")
    registry = Registry(open_registry(url(place, "weak")))
    assert registry.projects() == ["default"]
    with pytest.raises(StorageError, match="permission denied"):
        registry.apply(driver())
    registry.close()


def test_a_database_that_may_only_be_read_can_be_read(place: PostgresPlace, engine: sa.Engine) -> None:
    place.server.sql(f"ALTER DATABASE {place.name} SET default_transaction_read_only = on")
    try:
        registry = Registry(open_registry(place.url))
        assert registry.projects() == ["default"]
        with pytest.raises(StorageError, match="read-only transaction"):
            registry.apply(driver())
        registry.close()
    finally:
        place.server.sql(f"ALTER DATABASE {place.name} RESET default_transaction_read_only")
    with pytest.raises(StorageError, match="read-only"), reading(engine) as connection:
        connection.execute(tables.registry_version.update().values(version=9))


def test_an_encoding_that_cannot_hold_every_text_is_refused(server: PostgresServer) -> None:
    server.sql("CREATE DATABASE narrow TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(FailedPrecondition, match="LATIN1"):
        open_database(f"postgresql://postgres@127.0.0.1:{server.port}/narrow")


def test_texts_that_no_database_holds_are_invalid_data(engine: sa.Engine) -> None:
    for text in ("a\0b", "a\ud800b", "x" * 300):
        with pytest.raises(InvalidData), writing(engine) as connection:
            connection.execute(tables.projects.insert().values(name=text, created=0, created_by="me"))


# Being away


def test_a_crash_is_unavailable_and_over_with_the_next_start(place: PostgresPlace) -> None:
    registry = Registry(open_registry(place.url), recheck=0)
    registry.apply(driver(description="before"))
    assert registry.get(Entity, "driver_id").description == "before"
    place.server.crash()
    try:
        assert registry.get(Entity, "driver_id").description == "before"  # the last snapshot answers
        with pytest.raises(Unavailable, match="busy or away"):
            registry.apply(driver(description="while"))
        with pytest.raises(Unavailable):
            registry.store.version()
        with pytest.raises(Unavailable):
            open_registry(place.url)
    finally:
        place.server.start()
    assert registry.get(Entity, "driver_id").description == "before"
    registry.apply(driver(description="after"))
    assert [revision for (revision,) in place.rows("select revision from revisions order by revision")] == [1, 2]
    registry.close()


def test_a_connection_that_is_cut_inside_a_transaction_undoes_it(place: PostgresPlace, engine: sa.Engine) -> None:
    def cut_short() -> None:
        with writing(engine) as connection:
            connection.execute(tables.registry_version.update().values(version=5))
            cut(place)
            connection.execute(tables.registry_version.update().values(version=6))

    with pytest.raises(Unavailable):
        cut_short()
    with reading(engine) as connection:
        assert connection.execute(sa.select(tables.registry_version.c.version)).scalar() == 0


def test_a_connection_that_was_cut_while_idle_is_replaced_unnoticed(place: PostgresPlace, engine: sa.Engine) -> None:
    with reading(engine):
        pass
    cut(place)
    with writing(engine) as connection:
        connection.execute(tables.registry_version.update().values(version=1))
    assert place.rows("select version from registry_version") == [(1,)]


def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Connection refused" in refused(Unavailable, lambda: open_database(f"postgresql://a:{QUOTED}@127.0.0.1:1/d"))
    # One that takes connections and says nothing.
    monkeypatch.setitem(module._CONNECTION, "connect_timeout", 2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        port = silent.getsockname()[1]
        refused(Unavailable, lambda: open_database(f"postgresql://a:{QUOTED}@127.0.0.1:{port}/d"))
        assert time.monotonic() - began < 10


# Waiting


def test_a_lock_that_is_not_released_is_waited_for_a_while(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 1)
    with writing(engine) as connection:
        connection.execute(tables.registry_version.update().values(version=5))
        began = time.monotonic()
        with pytest.raises(Unavailable, match="lock timeout"), writing(engine) as other:
            other.execute(tables.registry_version.update().values(version=6))
        assert time.monotonic() - began < 10


def test_a_statement_has_an_end(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATEMENT_SECONDS", 1)
    with pytest.raises(Unavailable, match="statement timeout"), reading(engine) as connection:
        connection.exec_driver_sql("SELECT pg_sleep(30)")


def test_limits_hold_for_every_transaction_and_for_no_other_user_of_a_pooler(engine: sa.Engine) -> None:
    def shown(connection: sa.Connection, name: str) -> object:
        return connection.exec_driver_sql(f"SHOW {name}").scalar()

    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    with reading(engine) as connection:
        assert [shown(connection, name) for name in names] == ["30s", "10s", "1min"]
        assert (shown(connection, "transaction_isolation"), shown(connection, "transaction_read_only")) == (
            "repeatable read",
            "on",
        )
    with writing(engine) as connection:
        assert [shown(connection, name) for name in names] == ["30s", "10s", "1min"]
        assert shown(connection, "transaction_read_only") == "off"
        session = connection.connection.dbapi_connection
    with engine.connect() as connection:
        # The same session, between two transactions.
        assert connection.connection.dbapi_connection is session
        assert session is not None
        connection.connection.rollback()
        assert session.execute("SHOW statement_timeout").fetchone() == ("0",)  # type: ignore[attr-defined]


def test_a_pool_that_is_used_up_is_unavailable(place: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL_SECONDS", 0.2)
    engine = open_database(place.url)
    held = [engine.connect() for _ in range(15)]
    for connection in held:
        connection.execute(sa.select(1))
    with pytest.raises(Unavailable, match="in use"), reading(engine):
        pass
    for connection in held:
        connection.close()
    engine.dispose()


# Being many


def test_what_is_read_in_one_transaction_is_one_state(place: PostgresPlace) -> None:
    """A load reads the version first and the records last; what is committed in between is in neither."""
    store = open_registry(place.url)
    registry = Registry(store)
    registry.apply(driver())
    statements = 0

    def between(*_: object) -> None:
        nonlocal statements
        statements += 1
        if statements == 2:  # BEGIN came first, and the version is read
            Registry(writer).apply(driver(name="city"))

    writer = open_registry(place.url)
    sa.event.listen(store.engine, "after_cursor_execute", between)
    contents = store.load()
    sa.event.remove(store.engine, "after_cursor_execute", between)
    assert contents.version == 1
    assert [record.key.name for record in contents.records] == ["driver_id"]
    assert [record.key.name for record in store.load(1).records] == ["city"]
    store.close()
    writer.close()


def test_of_two_that_wait_for_each_other_one_is_told_to_retry(engine: sa.Engine) -> None:
    with writing(engine) as connection:
        connection.execute(tables.projects.insert().values(name="other", created=0, created_by="me"))
    together = threading.Barrier(2)

    def touch(first: str, second: str) -> Callable[[], object]:
        def work() -> None:
            with writing(engine) as connection:
                for name in (first, second):
                    changed = tables.projects.update().where(tables.projects.c.name == name)
                    connection.execute(changed.values(created_by=first))
                    if name == first:
                        together.wait()

        return work

    outcomes = in_threads([touch("default", "other"), touch("other", "default")])
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConcurrentChange", "NoneType"]
    assert any(isinstance(each, ConcurrentChange) and "deadlock" in str(each) for each in outcomes)


def test_a_child_that_was_forked_has_connections_of_its_own(place: PostgresPlace) -> None:
    program = f"""
import os
from tiffin.registry import tables
from tiffin.registry.database import open_database, reading, writing
import sqlalchemy as sa
engine = open_database({place.url!r})
with reading(engine) as connection:
    query = sa.text("select pg_backend_pid()")
    mine = connection.execute(query).scalar()
    child = os.fork()
    if child == 0:
        with writing(engine) as own:
            assert own.execute(query).scalar() != mine
            own.execute(tables.registry_version.update().values(version=5))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert connection.execute(query).scalar() == mine
with reading(engine) as connection:
    print(connection.execute(sa.select(tables.registry_version.c.version)).scalar())
engine.dispose()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False, env={**os.environ}
    )
    assert (done.stdout, done.stderr) == ("5\n", "")
