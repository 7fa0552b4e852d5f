"""Retries without the pauses that they make beside real services."""

from __future__ import annotations

import pytest

from tiffin.remote import retry


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.01)
