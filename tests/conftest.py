"""What every test shares: a store of its own, and how thoroughly generated cases are tried."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Assertions of the shipped suites explain themselves as those of tests do.
pytest.register_assert_rewrite("tiffin.testing")

pytest_plugins = ["tests.servers.fixtures"]

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: what it needs must be installed or started, not missed."""
    report = yield
    if report.skipped and "CI" in os.environ and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of an embedded store, empty and this test's own."""
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Options of whoever runs the tests must not reach them."""
    for name in [name for name in os.environ if name.startswith(("TIFFIN_", "FEAST_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TIFFIN_CONFIG", str(tmp_path_factory.mktemp("config") / "config.toml"))
