"""SIGKILL at fifteen moments of ingestion and materialisation; `make soak` tries any number."""

from __future__ import annotations

from tests.client import soak_kill


def test_whatever_the_moment_nothing_is_lost_and_nothing_is_half_done() -> None:
    assert soak_kill.run(15, seed=1).startswith("15 kills")
