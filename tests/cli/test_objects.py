"""tiffin entities, feature-tables, feature-services, projects, search and registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Tiffin
from tests.cli.test_apply import edit
from tiffin.registry.database import make_engine, writing
from tiffin.registry.migrate import migrate
from tiffin.registry.tables import SCHEMA_VERSION


@pytest.fixture
def applied(starter: Path, tiffin: Tiffin) -> Path:
    tiffin("apply")
    return starter


KINDS = [("entities", "driver_id"), ("feature-tables", "driver_statistics"), ("feature-services", "trip_completion")]


@pytest.mark.parametrize(("group", "name"), KINDS)
def test_list_and_describe(group: str, name: str, applied: Path, tiffin: Tiffin) -> None:
    assert name in tiffin(group, "list").out
    (document,) = tiffin(group, "list", "--json").json
    assert document["spec"]["name"] == name
    shown = tiffin(group, "describe", name).out
    assert document["spec"]["description"] in shown
    assert tiffin(group, "describe", name, "--json").json == document
    assert yaml.safe_load(tiffin(group, "describe", name, "--yaml").out)["spec"] == document["spec"]


@pytest.mark.parametrize(("group", "name"), KINDS)
def test_an_unknown_name_says_which_is_close(group: str, name: str, applied: Path, tiffin: Tiffin) -> None:
    outcome = tiffin(group, "describe", name[:-1], code=1)
    assert outcome.out == ""
    assert name in outcome.err
    assert tiffin(group, "describe", name[:-1], "--json", code=1).error["code"] == "not_found"


def test_labels_filter(applied: Path, tiffin: Tiffin) -> None:
    assert "driver_statistics" in tiffin("feature-tables", "list", "-l", "team=marketplace").out
    assert tiffin("feature-tables", "list", "-l", "team=fleet").out == "None are registered.\n"
    assert "key=value" in tiffin("feature-tables", "list", "-l", "team", code=1).err


def test_history_diff_and_rollback(applied: Path, tiffin: Tiffin) -> None:
    edit("How each driver did, once a day.", "Each day of each driver.")
    tiffin("apply")
    history = tiffin("feature-tables", "history", "driver_statistics", "--json").json
    assert [(each["revision"], each["action"]) for each in history] == [(1, "create"), (2, "update")]
    assert history[0]["at"].endswith("Z")
    assert "update" in tiffin("feature-tables", "history", "driver_statistics").out
    (found,) = tiffin("feature-tables", "diff", "driver_statistics", "1", "2", "--json").json
    assert found["field"] == "description"
    assert found["impact"] == "compatible"
    assert "~ description" in tiffin("feature-tables", "diff", "driver_statistics", "1", "2").out
    assert "Nothing differs" in tiffin("feature-tables", "diff", "driver_statistics", "2", "2").out
    old = tiffin("feature-tables", "describe", "driver_statistics", "--revision", "1", "--json").json
    assert old["spec"]["description"] == "How each driver did, once a day."
    tiffin("registry", "rollback", "driver_statistics", "1")
    now = tiffin("feature-tables", "describe", "driver_statistics", "--json").json
    assert now["spec"] == old["spec"]
    assert now["meta"]["revision"] == 3
    assert "no revision 9" in tiffin("registry", "rollback", "driver_statistics", "9", code=1).err


def test_delete_and_revive(applied: Path, tiffin: Tiffin) -> None:
    assert "trip_completion" in tiffin("feature-tables", "delete", "driver_statistics", code=1).err
    tiffin("feature-services", "delete", "trip_completion")
    tiffin("feature-tables", "delete", "driver_statistics")
    assert tiffin("feature-tables", "list").out == "None are registered.\n"
    tiffin("entities", "delete", "driver_id")
    assert tiffin("entities", "describe", "driver_id", code=1).err.startswith("error: ")
    assert "revive" in tiffin("apply").out
    assert "driver_statistics" in tiffin("feature-tables", "list").out


def test_projects(applied: Path, tiffin: Tiffin) -> None:
    tiffin("projects", "create", "rides")
    assert "error: " in tiffin("projects", "create", "rides", code=1).err
    assert tiffin("projects", "list").out == "* default\n  rides\n"
    assert tiffin("projects", "list", "-p", "rides", "--json").json == [
        {"name": "default", "current": False},
        {"name": "rides", "current": True},
    ]
    tiffin("projects", "archive", "rides")
    assert tiffin("projects", "list").out == "* default\n"
    assert tiffin("apply", "-p", "rides", "--json", code=1).error["code"] == "project_archived"
    assert "default" in tiffin("projects", "archive", "default", code=1).err


def test_search(applied: Path, tiffin: Tiffin) -> None:
    assert "driver_statistics:rating " in tiffin("search", "stars").out
    assert tiffin("search", "RATING", "--json").json[0]["ref"] == "default/driver_statistics:rating"
    assert tiffin("search", "nonsense").out == "Nothing found.\n"
    tiffin("apply", "-p", "rides")
    assert "rides/driver_statistics:rating" in tiffin("search", "stars").out
    assert "default" not in tiffin("search", "stars", "-p", "rides").out


def test_the_registry_is_carried_elsewhere(applied: Path, tiffin: Tiffin, tmp_path: Path) -> None:
    edit("How each driver did, once a day.", "Each day\u2028of each driver.")
    tiffin("apply")
    assert tiffin("registry", "dump", "-").out.startswith('{"type":"project"')
    tiffin("registry", "dump", "backup.jsonl")
    assert tiffin("registry", "dump", "-").out == Path("backup.jsonl").read_text()
    other = str(tmp_path / "other")
    assert tiffin("registry", "load", "backup.jsonl", "--home", other, "--json").json["revisions"] == 4
    for command in (["history", "driver_statistics"], ["describe", "driver_statistics"]):
        here = tiffin("feature-tables", *command, "--json").json
        assert tiffin("feature-tables", *command, "--json", "--home", other).json == here
    assert "Restore into an empty one." in tiffin("registry", "load", "backup.jsonl", "--home", other, code=1).err


def test_a_file_that_is_no_dump_is_refused(applied: Path, tiffin: Tiffin, tmp_path: Path) -> None:
    for name, text in {"a": "", "b": "{}\n", "c": "no json", "d": json.dumps({"format": "other"})}.items():
        Path(name).write_text(text)
        outcome = tiffin("registry", "load", name, "--home", str(tmp_path / "other"), code=1)
        assert "dump" in outcome.err
    Path("e").write_bytes(b"\xff\xfe")
    assert tiffin("registry", "load", "e", "--json", code=1).error["code"] == "invalid_data"
    assert tiffin("registry", "load", "missing", "--json", code=1).error["code"] == "storage_error"


def test_migrate_tells_from_which_schema_to_which(applied: Path, tiffin: Tiffin, tmp_path: Path) -> None:
    current = {"from": SCHEMA_VERSION, "schema": SCHEMA_VERSION, "needed": SCHEMA_VERSION, "up_to_date": True}
    assert tiffin("registry", "migrate", "--json").json == current
    assert "nothing to do" in tiffin("registry", "migrate", "--check").out
    fresh = ("--home", str(tmp_path / "fresh"))
    assert "no schema yet" in tiffin("registry", "migrate", "--check", *fresh, code=1).out
    assert not (tmp_path / "fresh").exists()
    assert tiffin("registry", "migrate", "--json", *fresh).json == current | {"from": None}


def test_where_migration_is_forbidden_only_migrate_does_it(
    tiffin: Tiffin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIFFIN_REGISTRY_AUTO_MIGRATE", "false")
    fresh = ("--home", str(tmp_path / "fresh"))
    assert "tiffin registry migrate" in tiffin("entities", "list", *fresh, code=1).err
    engine = make_engine(f"sqlite:///{tmp_path}/fresh/registry.db")
    (tmp_path / "fresh").mkdir(exist_ok=True)
    with writing(engine) as connection:
        migrate(connection, to="0001")
    engine.dispose()
    told = tiffin("registry", "migrate", "--check", "--json", *fresh, code=1).json
    assert (told["schema"], told["needed"], told["up_to_date"]) == ("0001", SCHEMA_VERSION, False)
    assert "schema 0001" in tiffin("entities", "list", *fresh, code=1).err
    assert "it had schema 0001" in tiffin("registry", "migrate", *fresh).out
    assert tiffin("entities", "list", "--json", *fresh).json == []


def test_the_schema_of_a_service_is_migrated_where_the_service_is(
    tiffin: Tiffin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIFFIN_CORE_URL", "http://127.0.0.1:1")
    assert "where the service runs" in tiffin("registry", "migrate", code=1).err
