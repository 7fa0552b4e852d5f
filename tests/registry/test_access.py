"""Roles, tokens and the audit log in the database: what is kept, what is not, and what a crash leaves."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tests.registry.places import Place, SqlitePlace
from tiffin import clock
from tiffin.definitions.entity import Entity
from tiffin.errors import AlreadyExists, InvalidArgument, NotFound
from tiffin.registry import tables
from tiffin.registry.access import Principal, Role, check_scope, named, read_grants, read_roles
from tiffin.registry.audit import MINUTE, AuditLog, Event, Question
from tiffin.registry.database import open_database, writing
from tiffin.registry.migrate import migrate
from tiffin.registry.registry import Registry
from tiffin.registry.sql import SqlRegistry
from tiffin.registry.tokens import TokenStore, check_token_name, digest, id_of

READER, WRITER, ADMIN = Role.READER, Role.WRITER, Role.ADMIN
DAY = 86_400 * 1_000_000


@pytest.fixture
def engine(place: Place) -> Iterator[sa.Engine]:
    engine = open_database(place.url)
    yield engine
    engine.dispose()


@pytest.fixture
def tokens(engine: sa.Engine) -> TokenStore:
    return TokenStore(engine)


@pytest.fixture
def log(engine: sa.Engine) -> AuditLog:
    return AuditLog(engine)


# Roles


@given(
    roles=st.dictionaries(st.sampled_from(["a", "b", "*"]), st.sampled_from(Role)),
    project=st.sampled_from(["a", "b", "c", "*"]),
    role=st.sampled_from(Role),
)
def test_a_principal_may_do_what_its_role_there_or_everywhere_includes(
    roles: dict[str, Role], project: str, role: Role
) -> None:
    held = [each for name, each in roles.items() if name in {project, "*"}]
    assert Principal("x", roles).allows(project, role) == any(each >= role for each in held)


def test_a_role_in_every_project_is_needed_where_every_project_is_meant() -> None:
    assert not Principal("x", {"a": ADMIN}).allows("*", READER)
    assert Principal("x", {"*": READER}).allows("*", READER)
    assert not Principal("x", {"*": READER}).allows("*", WRITER)
    assert not Principal("x", {}).allows("default", READER)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "*a",
        "* ",
        "**",
        "﹡",
        "\uff0a",
        "default\u200b",
        "d\u0435fault",
        "a/b",
        "a:b",
        "../a",
        "a b",
        "1a",
        None,
        5,
    ],
)
def test_names_that_only_look_like_projects_get_no_role(name: object) -> None:
    with pytest.raises(InvalidArgument):
        check_scope(name)
    with pytest.raises(InvalidArgument):
        read_roles({name: "reader"})


def test_grants_are_read_as_they_are_typed() -> None:
    assert read_grants(["rides=writer", "*=Reader"]) == {"rides": WRITER, "*": READER}
    for wrong in (["rides"], ["rides=owner"], ["=reader"], ["a=reader", "a=admin"], [], ["a=reader=admin"]):
        with pytest.raises(InvalidArgument):
            read_grants(wrong)
    assert named({"b": ADMIN, "a": READER}) == {"a": "reader", "b": "admin"}


# Tokens


def test_a_token_is_256_random_bits_of_which_only_the_hash_is_kept(tokens: TokenStore, place: Place) -> None:
    token, text = tokens.create("ci", {"default": READER}, by="ann@desk")
    prefix, identity, secret = text.split("_")
    assert prefix == "tiffin"
    assert len(bytes.fromhex(secret)) == 32
    assert token.fits(text)
    assert not token.fits(text[:-1] + ("0" if text[-1] != "0" else "1"))
    rows = place.rows("SELECT id, hash, name, created_by FROM tokens")
    assert rows == [(identity, hashlib.sha256(text.encode()).hexdigest(), "ci", "ann@desk")]
    everything = [place.rows(f"SELECT * FROM {table}") for table in ("tokens", "audit", "access_version")]
    assert secret not in repr(everything)
    assert secret not in repr(token) + str(token.to_dict())
    assert token.hash not in str(token.to_dict())


def test_ten_tokens_have_nothing_in_common(tokens: TokenStore) -> None:
    texts = [tokens.create(f"t{number}", {"default": READER}, by="x")[1] for number in range(10)]
    assert len({id_of(text) for text in texts}) == len({text.rsplit("_", 1)[1] for text in texts}) == 10


def test_names_of_tokens_are_never_used_again(tokens: TokenStore) -> None:
    token, _ = tokens.create("ci", {"default": READER}, by="x")
    tokens.revoke(token.id, by="x")
    with pytest.raises(AlreadyExists, match="ci-2"):
        tokens.create("ci", {"default": ADMIN}, by="x")


@pytest.mark.parametrize("name", ["", "a b", "root@host", "oidc:ann", "anonymous", "x" * 65, "ann\n", "é", "-a", None])
def test_no_token_is_named_like_another_kind_of_caller(name: str) -> None:
    with pytest.raises(InvalidArgument):
        check_token_name(name)


def test_a_token_ends_when_it_is_revoked_or_its_time_has_come(tokens: TokenStore) -> None:
    with pytest.raises(InvalidArgument, match="expired"):
        tokens.create("late", {"default": READER}, by="x", expires=clock.now() - 1)
    first, _ = tokens.create("first", {"default": READER}, by="x")
    second, _ = tokens.create("second", {"default": READER}, by="x", expires=clock.now() + DAY)
    assert [token.state(clock.now()) for token in tokens.tokens()] == ["valid", "valid"]
    assert second.state(clock.now() + DAY) == "expired"
    ended = tokens.revoke(first.id, by="bob@desk")
    assert (ended.state(clock.now()), ended.revoked_by) == ("revoked", "bob@desk")
    assert tokens.revoke(first.id, by="eve@desk").revoked_by == "bob@desk"
    assert [token.name for token in tokens.known().tokens or ()] == ["second"]
    with pytest.raises(NotFound):
        tokens.revoke("0123456789ab", by="x")


def test_a_token_given_in_place_of_its_id_is_not_repeated(tokens: TokenStore) -> None:
    _, text = tokens.create("ci", {"default": READER}, by="x")
    for wrong in (text, text.rsplit("_", 1)[1], text[7:]):
        with pytest.raises(NotFound) as caught:
            tokens.get(wrong)
        assert text.rsplit("_", 1)[1][:16] not in str(caught.value)


def test_whoever_knows_all_tokens_is_told_that_nothing_changed(tokens: TokenStore) -> None:
    before = tokens.known()
    assert tokens.known(before.version).tokens is None
    token, _ = tokens.create("ci", {"default": READER}, by="x")
    after = tokens.known(before.version)
    assert [each.name for each in after.tokens or ()] == ["ci"]
    tokens.revoke(token.id, by="x")
    assert tokens.known(after.version).tokens == ()


def test_long_expired_tokens_are_forgotten_by_services(tokens: TokenStore, engine: sa.Engine) -> None:
    tokens.create("old", {"default": READER}, by="x", expires=clock.now() + DAY)
    with writing(engine) as connection:
        connection.execute(tables.tokens.update().values(expires=clock.now() - 8 * DAY))
    assert tokens.known().tokens == ()
    assert len(tokens.tokens()) == 1


# The audit log


def event(**more: object) -> Event:
    given = {"at": clock.now(), "principal": "ci", "project": "rides", "action": "push"} | more
    return Event(**given)  # type: ignore[arg-type]


def test_the_log_is_one_of_definitions_projects_tokens_and_denials(
    engine: sa.Engine, tokens: TokenStore, log: AuditLog
) -> None:
    registry = Registry(SqlRegistry(engine))
    registry.create_project("rides", by="ann@desk")
    registry.apply(Entity("driver"), "rides", by="ci")
    token, _ = tokens.create("bot", {"rides": WRITER, "default": READER}, by="ann@desk")
    log.add([event(detail="table trips"), event(principal="eve", action="apply", denied=True)])
    tokens.revoke(token.id, by="ann@desk")
    registry.archive_project("rides", by="ann@desk")
    seen = [(each.principal, each.project, each.action) for each in log.events(Question(project="rides"))]
    assert sorted(seen) == sorted(
        [
            ("ann@desk", "rides", "create project"),
            ("ci", "rides", "create"),
            ("ann@desk", "rides", "create token"),
            ("ci", "rides", "push"),
            ("eve", "rides", "apply"),
            ("ann@desk", "rides", "revoke token"),
            ("ann@desk", "rides", "archive project"),
        ]
    )
    times = [each.at for each in log.events(Question())]
    assert times == sorted(times, reverse=True)
    assert [each.action for each in log.events(Question(denied=True))] == ["apply"]
    assert "apply" not in [each.action for each in log.events(Question(denied=False))]
    assert [each.project for each in log.events(Question(action="create token"))] != []
    assert {each.principal for each in log.events(Question(principal="ci"))} == {"ci"}
    assert len(log.events(Question(limit=3))) == 3
    assert log.events(Question(since=clock.now() + 1)) == []
    assert [each.detail for each in log.events(Question(action="create", project="rides"))] == [
        "Entity driver, revision 1"
    ]


def test_equal_events_of_a_minute_are_counted_in_one_row(log: AuditLog, place: Place) -> None:
    start = clock.now() // MINUTE * MINUTE
    log.add([event(at=start + second * 1_000_000, denied=True) for second in range(60)])
    log.add([event(at=start + 30_000_000, denied=True, count=5, last=start + 50_000_000)])
    log.add(
        [event(at=start + MINUTE, denied=True), event(at=start, denied=False), event(at=start, denied=True, via="s")]
    )
    rows = place.rows("SELECT count AS n, last - at AS span FROM audit ORDER BY count DESC")
    assert rows[0] == (65, 59_000_000)
    assert [row[0] for row in rows] == [65, 1, 1, 1]


def test_writers_count_in_one_row_without_losing_any(place: Place, engine: sa.Engine) -> None:
    def add(first: bool) -> None:
        own = open_database(place.url)
        for _ in range(15):
            same = [event(at=MINUTE, detail=str(each), denied=True) for each in range(5)]
            AuditLog(own).add(same if first else reversed(same))
        own.dispose()

    threads = [threading.Thread(target=add, args=(first,)) for first in (True, False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert place.rows("SELECT count(*) AS n, min(count) AS low, max(count) AS high FROM audit") == [(5, 45, 45)]


def test_texts_of_any_kind_are_recorded(log: AuditLog) -> None:
    strange = "'; DROP TABLE audit; --\x00\ud800 ünï😀" + "x" * 5000
    log.add([event(principal=strange, project=strange, action=strange, detail=strange)])
    [found] = log.events(Question(action=strange.replace("\x00", "").encode("utf-8", "replace").decode()[:64]))
    assert found.detail.startswith("'; DROP TABLE audit; --? ünï😀x")


def test_only_the_table_is_pruned(engine: sa.Engine, log: AuditLog) -> None:
    Registry(SqlRegistry(engine)).apply(Entity("driver"), by="ci")
    now = clock.now()
    log.add([event(at=now - 10 * DAY), event(at=now - 10 * DAY, last=now, action="read"), event(at=now)])
    assert log.prune(now - 5 * DAY) == 1
    assert {each.action for each in log.events(Question())} == {"create", "create project", "read", "push"}


def test_older_registries_gain_tokens_and_keep_what_they_have(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path / "registry.db")
    older = sa.create_engine(place.url)
    with older.begin() as connection:
        migrate(connection, to="0001")
        connection.exec_driver_sql("INSERT INTO projects (name, created, created_by) VALUES ('rides', 5, 'ann')")
    older.dispose()
    engine = open_database(place.url)
    TokenStore(engine).create("ci", {"rides": READER}, by="ann")
    made = AuditLog(engine).events(Question(project="rides", action="create project"))
    assert [(each.at, each.principal) for each in made] == [(5, "ann")]
    engine.dispose()


WRITER_PROGRAM = """
import sys
from tiffin.definitions.entity import Entity
from tiffin.registry.registry import Registry
from tiffin.registry.sql import open_registry
from tiffin.registry.access import Role
from tiffin.registry.tokens import TokenStore

store = open_registry(sys.argv[1])
registry, tokens = Registry(store), TokenStore(store.engine)
for number in range(100_000):
    registry.apply(Entity(f"e{number}"), "default", by="writer")
    print("entity", f"e{number}", flush=True)
    token, _ = tokens.create(f"t{number}", {"default": Role.READER}, by="writer")
    print("token", token.id, flush=True)
    tokens.revoke(token.id, by="writer")
    print("revoked", token.id, flush=True)
"""


def test_no_change_outlives_a_kill_without_its_record(place: Place) -> None:
    """A process that changes definitions and tokens is killed at random; every change in the tables is in the log."""
    open_database(place.url).dispose()
    acknowledged: list[tuple[str, str]] = []
    for number in range(3):
        program = WRITER_PROGRAM.replace('f"e{number}"', f'f"e{number}_{{number}}"').replace(
            'f"t{number}"', f'f"t{number}_{{number}}"'
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, place.url], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(0.05 + 0.12 * number)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.wait()
        process.stdout.close()
        acknowledged += [tuple(line.split()) for line in (first + rest).splitlines() if len(line.split()) == 2]  # type: ignore[misc]
    engine = open_database(place.url)
    events = AuditLog(engine).events(Question(principal="writer", limit=1_000_000))
    engine.dispose()
    recorded = {(each.action, each.detail) for each in events}
    names = {name for action, detail in recorded if action == "create" for name in [detail.split()[1].rstrip(",")]}
    made = {detail.split("(")[1].split(")")[0] for action, detail in recorded if action == "create token"}
    ended = {detail.split("(")[1].split(")")[0] for action, detail in recorded if action == "revoke token"}
    assert names == {row[0] for row in place.rows("SELECT name FROM objects")}
    assert made == {row[0] for row in place.rows("SELECT id FROM tokens")}
    assert ended == {row[0] for row in place.rows("SELECT id FROM tokens WHERE revoked IS NOT NULL")}
    assert {name for kind, name in acknowledged if kind == "entity"} <= names
    assert {name for kind, name in acknowledged if kind == "token"} <= made
    assert {name for kind, name in acknowledged if kind == "revoked"} <= ended


def test_a_hash_says_whether_a_text_is_the_token() -> None:
    assert digest("tiffin_a_b") == hashlib.sha256(b"tiffin_a_b").hexdigest()
    for text in ("", "tiffin", "tiffin_", "tiffin_a", "tiffin_a_", "other_a_b", "tiffin__b"):
        assert id_of(text) == ""
    assert id_of("tiffin_4f_a_b") == "4f"
