"""What Debian packages hold the servers, installed where they are missing and the user may."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

STATSD = "0.9.0"

_POSTGRES = Path("/usr/lib/postgresql")


def redis_program(name: str = "redis-server") -> str:
    return _program(name, "redis-server")


def wrk_program() -> str:
    return _program("wrk", "wrk")


def prometheus_program(name: str = "prometheus") -> str:
    return _program(name, "prometheus")


def statsd_command() -> list[str]:
    """What runs Etsy's StatsD, which npm has; a file of its settings follows."""
    node, npm = _program("node", "nodejs"), _program("npm", "npm")
    folder = Path(tempfile.gettempdir()) / f"tiffin-npm-{STATSD}"
    script = folder / "node_modules" / "statsd" / "stats.js"
    with (Path(tempfile.gettempdir()) / "tiffin-npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not script.exists():
            command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", f"statsd@{STATSD}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert script.exists(), f"statsd could not be installed:\n{done.stdout}\n{done.stderr}"
    return [node, str(script)]


def postgres_program(name: str) -> str:
    """A program of PostgreSQL, which Debian keeps out of PATH."""
    found = _postgres(name)
    if found is None:
        _install("postgresql")
        found = _postgres(name)
    assert found is not None, f"{name} is not there, though postgresql was installed"
    return found


def need_charmaps() -> None:
    """What localedef makes a locale from."""
    charmap = Path("/usr/share/i18n/charmaps/UTF-8.gz")
    if not charmap.exists():
        _install("locales")
    assert charmap.exists(), "locales was installed without charmaps"


def _postgres(name: str) -> str | None:
    places = sorted(_POSTGRES.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(places[-1]) if places else shutil.which(name)


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        _install(package)
        found = shutil.which(name)
    assert found is not None, f"{name} is not there, though {package} was installed"
    return found


def _install(package: str) -> None:
    """Install a Debian package; processes that need one at the same time take turns."""
    assert os.geteuid() == 0, f"install it first: apt-get install {package}"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with (Path(tempfile.gettempdir()) / "tiffin-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package]):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{package} could not be installed:\n{done.stdout}\n{done.stderr}"
