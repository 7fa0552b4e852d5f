"""Options: the order of origins, their kinds, where home and root are, and what is shown and saved."""

from __future__ import annotations

import logging
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.config import Config
from tiffin.errors import InvalidConfig, StorageError
from tiffin.options import ALIASES, OPTIONS, read_size, shown


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with nothing of ours above it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "user" / "config.toml"
    monkeypatch.setenv("TIFFIN_CONFIG", str(path))
    return path


def test_the_stronger_origin_wins(here: Path, user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[str, str]] = []

    def see(**arguments: Any) -> None:
        config = Config(**arguments)
        found.append((config.get("project"), config.origin("project")))

    see()
    user_file.parent.mkdir()
    user_file.write_text('project = "of_user"')
    see()
    (here / "tiffin.toml").write_text('Project = "of_folder"')
    see()
    monkeypatch.setenv("TIFFIN_PROJECT", "of_environment")
    see()
    see(project="of_argument")
    assert found == [
        ("default", "default"),
        ("of_user", f"file {user_file}"),
        ("of_folder", f"file {here}/tiffin.toml"),
        ("of_environment", "environment TIFFIN_PROJECT"),
        ("of_argument", "argument"),
    ]
    config = Config({"project": "of_argument"})
    config.set("PROJECT", "set")
    assert (config.get("project"), config.origin("Project")) == ("set", "set")
    config.set("project", None)
    assert (config.get("project"), config.origin("project")) == ("default", "default")


def test_options_are_read_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config()
    (here / "tiffin.toml").write_text('project = "later"')
    monkeypatch.setenv("TIFFIN_MAX_SKEW", "5")
    assert (config.get("project"), config.getint("max_skew")) == ("default", 60)


def test_a_project_file_above_is_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "tiffin.toml").write_text('project = "above"\nhome = "stores/one"\nspark_home = "/opt/spark"\n')
    (here / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(here / "a" / "b")
    config = Config()
    assert config.get("project") == "above"
    assert config.home == (here / "stores" / "one").resolve()
    assert config.root == here.resolve()
    assert config.get("spark_home") == "/opt/spark"


def test_home_is_found_upward_or_made_here(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Config().home, Config().root) == (here.resolve() / ".tiffin", here.resolve())
    assert not Config().home.exists()
    (here / "a").mkdir()
    (here / ".tiffin").mkdir()
    monkeypatch.chdir(here / "a")
    assert (Config().home, Config().root) == (here.resolve() / ".tiffin", here.resolve())
    (here / "a" / ".tiffin").write_text("a file is no home")
    assert Config().root == here.resolve()


def test_a_home_that_is_named_leaves_the_root_alone(here: Path) -> None:
    (here / ".tiffin").mkdir()
    for home in ("elsewhere/home", here / "elsewhere" / "home"):
        config = Config(home=home)
        assert config.home == (here / "elsewhere" / "home").resolve()
        assert config.root == here.resolve()
    assert Config(home="~/x").home == Path("~/x").expanduser().resolve()


def test_kinds_are_read(here: Path) -> None:
    config = Config(memory_budget="2GB", redis_port=1234, redis_ssl="YES", max_skew="1.5", core_enable_ssl=True)
    assert config.getint("memory_budget") == config.getsize("memory_budget") == 2_000_000_000
    assert (config.getint("redis_port"), config.get("redis_port")) == (1234, "1234")
    assert (config.getboolean("redis_ssl"), config.getboolean("core_enable_ssl")) == (True, True)
    assert config.getboolean("embedded") is False
    assert config.getfloat("max_skew") == 1.5
    assert Config().getsize("memory_budget") is None
    assert (config.exists("memory_budget"), config.exists("core_url")) == (True, False)
    assert (config.get("core_url", "none"), config.get("project", "other")) == ("none", "default")
    with pytest.raises(InvalidConfig, match="not set"):
        Config().getint("memory_budget")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"projct": "x"}, "Did you mean 'project'"),
        ({"redis_port": "six"}, r"'redis_port' \(argument\): 'six' is not a whole number"),
        ({"memory_budget": "2 gallons"}, "size"),
        ({"embedded": "maybe"}, "true or false"),
        ({"max_skew": "nan"}, "number"),
        ({"max_skew": "soon"}, "number"),
        ({"project": ["a"]}, "must be a text"),
        ({"staging_location": "a", "SPARK_STAGING_LOCATION": "b"}, "twice"),
    ],
)
def test_what_cannot_be_used_is_refused(here: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidConfig, match=words):
        Config(given)


def test_files_that_cannot_be_used_are_named(here: Path) -> None:
    file = here / "tiffin.toml"
    for text, words in (
        ("project = ", "not TOML"),
        ('projct = "x"', "projct"),
        ("redis_port = []", "redis_port"),
        ('redis_port = "x"', r"file .*tiffin\.toml"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidConfig, match=words):
            Config()


def test_unknown_variables_are_no_errors(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TIFFIN_CORE_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("TIFFIN_PROJCT", "x")
    monkeypatch.setenv("FEAST_PROJECT", "feast")
    assert Config().get("project") == "default"
    assert [record.getMessage() for record in caplog.records] == [
        "TIFFIN_PROJCT is not an option; did you mean TIFFIN_PROJECT?"
    ]
    monkeypatch.setenv("TIFFIN_REDIS_PORT", "x")
    with pytest.raises(InvalidConfig, match="environment TIFFIN_REDIS_PORT"):
        Config()


def test_the_arguments_of_the_article_are_options(here: Path) -> None:
    bucket = "gs://bucket/"
    config = Config(
        core_url="feast-core:6565",
        serving_url="feast-serving:6566",
        spark_launcher="k8s",
        spark_staging_location=bucket,
        spark_k8s_namespace="spark-operator",
        redis_host="feast-redis:6379",
        historical_feature_output_location=f"{bucket}historical",
        telemetry="False",
    )
    assert config.get("spark_staging_location") == config.get("staging_location") == bucket
    assert config.get("redis_host") == "feast-redis:6379"


def test_embedded_ignores_servers_of_arguments_with_a_notice(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TIFFIN_EMBEDDED", "1")
    monkeypatch.setenv("TIFFIN_STATSD_HOST", "metrics")
    arguments = {"core_url": "c:1", "redis_host": "r:2", "spark_launcher": "k8s", "online_store": "redis://u:pw@h/0"}
    with caplog.at_level(logging.WARNING):
        config = Config(arguments, staging_location="out", registry="sqlite:////tmp/x.db")
    assert not any(config.get(name) for name in arguments)
    assert config.get("registry") == "sqlite:////tmp/x.db"
    assert config.get("staging_location") == "out"
    assert config.get("statsd_host") == "metrics"  # not an argument
    notices = [record.getMessage() for record in caplog.records]
    assert len(notices) == 4
    assert "core_url='c:1'" in notices[0]
    assert not any("pw" in notice for notice in notices)
    assert Config(core_url="c:1", embedded="false").get("core_url") == "c:1"


def test_secrets_are_hidden(here: Path) -> None:
    config = Config(auth_token="abc", online_store="redis://user:p:w@host:6379/0", project="rides")
    text = str(config)
    assert "abc" not in text
    assert "p:w" not in text
    assert "project = 'rides' (argument)" in text
    assert str(Config()) == "every option has its default"
    assert shown(OPTIONS["registry"], "postgresql://u:secret@h/db") == "postgresql://u:****@h/db"
    assert shown(OPTIONS["registry"], "postgresql://u:se/c@ret@h/db") == "postgresql://u:****@h/db"
    assert shown(OPTIONS["registry"], "postgresql://h/d?user=u&password=s&x=y") == (
        "postgresql://h/d?user=u&password=****&x=y"
    )
    assert shown(OPTIONS["registry"], "sqlite:////a/b") == "sqlite:////a/b"


def test_save_writes_what_is_no_default_for_the_user_alone(here: Path, user_file: Path) -> None:
    awkward = 'a "quoted" \\ name\n\x7f é 🦊'
    config = Config(project="rides", redis_port=6379, historical_feature_output_location=awkward, auth_token="t")
    config.set("embedded", True)
    assert config.save() == user_file
    assert tomllib.loads(user_file.read_text()) == {
        "project": "rides",
        "historical_feature_output_location": awkward,
        "auth_token": "t",
        "embedded": "true",
    }
    assert stat.S_IMODE(user_file.stat().st_mode) == 0o600
    again = Config()
    assert (again.get("project"), again.getboolean("embedded")) == ("rides", True)
    assert [path.name for path in user_file.parent.iterdir()] == ["config.toml"]


def test_a_file_that_cannot_be_written_is_an_error(here: Path, user_file: Path) -> None:
    user_file.parent.write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        Config().save()


def test_the_default_place_of_the_users_file(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIFFIN_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".config" / "tiffin"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('project = "mine"')
    assert Config().get("project") == "mine"


def test_the_table_of_options_is_sound() -> None:
    for name, option in OPTIONS.items():
        assert name == option.name == name.lower()
        assert option.description
    assert all(target in OPTIONS and alias not in OPTIONS for alias, target in ALIASES.items())
    assert [option.name for option, _, _ in Config().items()] == list(OPTIONS)


@given(st.integers(0, 10**6), st.sampled_from(["", "B", "kB", "MB", "GiB", " TB", "k", "Mi"]))
def test_sizes(number: int, unit: str) -> None:
    base = 1024 if "i" in unit else 1000
    power = " kmgt".index((unit.strip().lower().replace("b", "") or " ")[0])
    assert read_size(f"{number}{unit}") == number * base**power
