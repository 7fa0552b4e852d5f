"""Which parts of a store the options place in services."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiffin import deployment, errors
from tiffin.config import Config


def config(tmp_path: Path, **options: str) -> Config:
    return Config(options, home=str(tmp_path / "home"))


def test_without_options_everything_is_in_the_home(tmp_path: Path) -> None:
    plain = config(tmp_path)
    assert not deployment.has_core(plain)
    assert not deployment.has_serving(plain)
    assert not deployment.is_shared(plain)
    assert deployment.registry_url(plain) == f"sqlite:///{tmp_path}/home/registry.db"
    assert deployment.online_uri(plain) == f"lmdb://{tmp_path}/home/online"
    assert deployment.managed_root(plain) == f"{tmp_path}/home/offline"
    deployment.check_history(plain, "drivers")


@pytest.mark.parametrize(
    ("options", "uri"),
    [
        ({"redis_host": "redis"}, "redis://redis:6379/0"),
        ({"redis_host": "redis:7000"}, "redis://redis:7000/0"),
        ({"redis_host": "redis", "redis_port": "7000"}, "redis://redis:7000/0"),
        ({"redis_host": "redis:7000", "redis_ssl": "true"}, "rediss://redis:7000/0"),
        ({"redis_host": "redis", "redis_password": "p@ss/w"}, "redis://:p%40ss%2Fw@redis:6379/0"),
        ({"online_store": "redis+cluster://a,b", "redis_host": "redis"}, "redis+cluster://a,b"),
        ({"online_store": "lmdb:///data", "core_url": "core:6565"}, "lmdb:///data"),
        ({"core_url": "core:6565"}, None),
        ({"serving_url": "online:6566"}, None),
        ({"serving_url": "online:6566", "redis_host": "redis"}, "redis://redis:6379/0"),
    ],
)
def test_the_online_store_that_is_opened_here(tmp_path: Path, options: dict[str, str], uri: str | None) -> None:
    assert deployment.online_uri(config(tmp_path, **options)) == uri


def test_a_store_that_is_not_named_is_told(tmp_path: Path) -> None:
    for option, address in (("core_url", "core:6565"), ("serving_url", "online:6566")):
        error = deployment.no_store(config(tmp_path, **{option: address}))
        assert option in error.message
        assert "redis_host or online_store" in str(error.hint)


@pytest.mark.parametrize("options", [{"core_url": "core:6565"}, {"registry": "postgresql+psycopg://h/features"}])
def test_histories_of_a_shared_registry_have_a_shared_place(tmp_path: Path, options: dict[str, str]) -> None:
    shared = config(tmp_path, **options)
    assert deployment.is_shared(shared)
    with pytest.raises(errors.FailedPrecondition, match="offline_location"):
        deployment.check_history(shared, "drivers")
    placed = config(tmp_path, offline_location="s3://features/", **options)
    deployment.check_history(placed, "drivers")
    assert deployment.managed_root(placed) == "s3://features"


def test_embedded_leaves_services_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("CORE_URL", "core:6565"), ("SERVING_URL", "online:6566"), ("REDIS_HOST", "redis")):
        monkeypatch.setenv(f"TIFFIN_{name}", value)
    assert deployment.has_core(config(tmp_path))
    embedded = config(tmp_path, embedded="true")
    assert not deployment.has_core(embedded)
    assert not deployment.has_serving(embedded)
    assert deployment.online_uri(embedded) == f"lmdb://{tmp_path}/home/online"
    deployment.check_servers(embedded)
