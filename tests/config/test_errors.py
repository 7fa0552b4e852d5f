"""Errors travel: what a service says is raised again as what it was."""

from __future__ import annotations

import pytest

from tiffin import errors
from tiffin.errors import InvalidArgument, MissingDependency, TiffinError, Unavailable, error_from

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TiffinError)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not MissingDependency])
def test_every_kind_survives_the_way_as_plain_data(kind: type[TiffinError]) -> None:
    sent = kind("It is broken.", field="part", hint="Mend it.")
    received = error_from(sent.to_dict(), sent.status)
    assert type(received) is kind
    assert (received.to_dict(), str(received)) == (sent.to_dict(), "It is broken. Mend it.")


def test_a_missing_driver_of_a_service_is_told_to_its_client() -> None:
    sent = MissingDependency("redis", extra="redis", purpose="Redis")
    received = error_from(sent.to_dict(), sent.status)
    assert isinstance(received, MissingDependency)
    assert received.hint == 'Install it with: pip install "tiffin[redis]"'


@pytest.mark.parametrize(("status", "kind"), [(400, InvalidArgument), (503, Unavailable), (429, Unavailable)])
def test_the_status_decides_where_a_proxy_answers(status: int, kind: type[TiffinError]) -> None:
    assert type(error_from({"detail": "no"}, status)) is kind


def test_codes_are_distinct() -> None:
    codes = [kind.code for kind in KINDS]
    assert len(set(codes)) == len(codes)
