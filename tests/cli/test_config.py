"""tiffin config: what was chosen, where, and choosing."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Tiffin


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_list_shows_what_was_chosen_and_where(tiffin: Tiffin, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tiffin.toml").write_text('project = "rides"\n')
    monkeypatch.setenv("TIFFIN_MAX_SKEW", "5")
    shown = tiffin("config", "list").out
    assert "rides" in shown
    assert "tiffin.toml" in shown
    assert "environment TIFFIN_MAX_SKEW" in shown
    assert "redis_port" not in shown
    assert "redis_port" in tiffin("config", "list", "--all").out


def test_list_for_machines_has_every_option(tiffin: Tiffin) -> None:
    found = tiffin("config", "list", "--json", "-p", "rides").json
    options = {each["name"]: each for each in found["options"]}
    assert options["project"]["value"] == "rides"
    assert options["project"]["origin"] == "argument"
    assert options["redis_port"]["origin"] == "default"
    assert found["home"].endswith(".tiffin")


def test_secrets_are_not_shown(tiffin: Tiffin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIFFIN_AUTH_TOKEN", "hush")
    monkeypatch.setenv("TIFFIN_REGISTRY", "postgresql://me:hush@host/db")
    for arguments in (["list"], ["list", "--json"], ["get", "auth_token"], ["get", "registry"]):
        outcome = tiffin("config", *arguments)
        assert "hush" not in outcome.out + outcome.err


def test_get_gives_the_bare_value(tiffin: Tiffin) -> None:
    assert tiffin("config", "get", "PROJECT").out == "default\n"
    assert tiffin("config", "get", "project", "--json").json["value"] == "default"


def test_set_writes_that_option_alone(tiffin: Tiffin, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("tiffin.toml").write_text('offline_store = "polars2"\n')
    monkeypatch.setenv("TIFFIN_AUTH_TOKEN", "hush")
    tiffin("config", "set", "max_skew", "5")
    tiffin("config", "set", "project", "rides")
    kept = tomllib.loads(Path(os.environ["TIFFIN_CONFIG"]).read_text())
    assert kept == {"max_skew": "5", "project": "rides"}
    assert tiffin("config", "get", "project").out == "rides\n"


def test_an_empty_value_returns_to_the_default(tiffin: Tiffin) -> None:
    tiffin("config", "set", "project", "rides")
    tiffin("config", "set", "project", "")
    assert tiffin("config", "get", "project").out == "default\n"


def test_wrong_options_say_what_to_do(tiffin: Tiffin) -> None:
    outcome = tiffin("config", "set", "projct", "x", code=1)
    assert outcome.err == "error: 'projct' is not an option of Tiffin.\nhint: Did you mean 'project'?\n"
    outcome = tiffin("config", "set", "max_skew", "soon", "--json", code=1)
    assert outcome.out == ""
    assert outcome.error["code"] == "invalid_config"
