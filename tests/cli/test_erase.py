"""``tiffin erase``: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.ingest.erasing import KEY, OBJECTS, holding, rides
from tiffin import Client


def tiffin(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("tiffin")
    return subprocess.run(
        [program, *arguments, "--home", str(home)], capture_output=True, text=True, check=False, input="", timeout=120
    )


def test_a_key_is_counted_refused_erased_and_listed(tmp_path: Path) -> None:
    with Client(home=str(tmp_path)) as client:
        client.apply([type(each).from_spec(each.to_spec()) for each in OBJECTS])
        client.push("rides", rides(KEY, "aa"))
    counted = tiffin(tmp_path, "erase", "-e", f"rider={KEY}", "--dry-run", "--json")
    assert json.loads(counted.stdout)[0]["rows"] == 2
    refused = tiffin(tmp_path, "erase", "-e", f"rider={KEY}")
    assert refused.returncode != 0
    assert "--yes" in refused.stderr
    done = tiffin(tmp_path, "erase", "-e", f"rider={KEY}", "-e", "rider=nobody", "--yes")
    assert done.returncode == 0, done.stderr
    assert "2 rows of 2 keys of rider removed" in done.stdout
    assert "Not reached" in done.stdout
    assert holding(tmp_path) == []
    listed = tiffin(tmp_path, "erase", "--list", "--json")
    assert [each["state"] for each in json.loads(listed.stdout)] == ["DONE", "DONE"]
    assert KEY not in listed.stdout
    audited = tiffin(tmp_path, "audit", "list", "--json")
    assert {"erase", "erased"} <= {each["action"] for each in json.loads(audited.stdout)}
    assert KEY not in audited.stdout


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    for wrong in (["-e", "rider"], ["-e", "=1"], []):
        done = tiffin(tmp_path, "erase", *wrong, "--yes")
        assert done.returncode != 0
        assert "NAME=KEY" in done.stderr or "--entity" in done.stderr
