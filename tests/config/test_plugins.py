"""Backends by name and URI, first-party ones and those of strangers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tiffin.errors import InvalidConfig
from tiffin.plugins import FIRST_PARTY, known, resolve
from tiffin.registry import memory, sql


def test_a_scheme_chooses_and_a_driver_after_it_does_not() -> None:
    assert resolve("registry", "sqlite:////tmp/x.db") is sql.open_registry
    assert resolve("registry", "postgresql+psycopg://u@h/d") is sql.open_registry
    assert resolve("registry", " Memory://") is resolve("registry", "memory") is memory.open_registry


@pytest.mark.parametrize(("floor", "name"), [(floor, name) for floor, names in FIRST_PARTY.items() for name in names])
def test_every_first_party_backend_is_there(floor: str, name: str) -> None:
    assert callable(resolve(floor, name))  # type: ignore[arg-type]


def test_an_unknown_name_lists_what_exists() -> None:
    with pytest.raises(InvalidConfig, match=r"no registry backend named 'sqlit'.*Did you mean 'sqlite'") as caught:
        resolve("registry", "sqlit:///secret:password@x")
    assert "password" not in str(caught.value)
    with pytest.raises(InvalidConfig, match="'lmdb', 'memory'"):
        resolve("online", "cassandra://x")


def test_a_strangers_backend_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stranger.py").write_text("def open_store(uri):\n    return 'opened ' + uri\n")
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tiffin.online]\nstrange = stranger:open_store\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "strange" in known("online")
    assert resolve("online", "strange://x")("strange://x") == "opened strange://x"
    monkeypatch.delitem(sys.modules, "stranger")
