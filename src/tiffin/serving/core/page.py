"""Page: a part of a list, and the cursor with which the next part is asked for.

A cursor names the last item of its page, so that what is added or removed between two pages neither repeats nor hides
another item.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Annotated, Final, Generic, TypeVar

import msgspec
from litestar.params import QueryParameter

from tiffin.errors import InvalidArgument

T = TypeVar("T")
U = TypeVar("U")
P = TypeVar("P", str, int, tuple[int, str])

MOST: Final = 1000
USUAL: Final = 100

Limit = Annotated[int, QueryParameter(ge=1, le=MOST, description="Items of one page.")]
Cursor = Annotated[str | None, QueryParameter(max_length=4096, description="The `next_cursor` of the page before.")]


class Page(msgspec.Struct, Generic[T]):
    """Some items in their order. ``next_cursor`` is null on the last page."""

    items: list[T]
    next_cursor: str | None = None


def page(items: Iterable[T], place: Callable[[T], P], kind: type[P], limit: int, cursor: str | None) -> Page[T]:
    """The items after the cursor, at most ``limit``.

    ``items`` are in the order of ``place``, which tells them apart and is of ``kind``: a text, a number, or a tuple.
    """
    after = None if cursor is None else place_of(cursor, kind)
    following = (item for item in items if after is None or place(item) > after)
    return cut(list(islice(following, limit + 1)), place, limit)


def cut(found: Sequence[T], place: Callable[[T], P], limit: int) -> Page[T]:
    """A page of the first ``limit`` items; where there are more, another page follows."""
    items = list(found[:limit])
    return Page(items, _written(place(items[-1])) if len(found) > limit else None)


def mapped(found: Page[T], change: Callable[[T], U]) -> Page[U]:
    """The same page of other items."""
    return Page([change(item) for item in found.items], found.next_cursor)


def _written(place: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place_of(cursor: str, kind: type[P]) -> P:
    """The place that a cursor names; InvalidArgument for a text that no page gave."""
    try:
        data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(data, type=kind)
    except (binascii.Error, ValueError) as error:  # msgspec's errors, and texts that are not ASCII, are such
        raise bad_cursor() from error


def bad_cursor() -> InvalidArgument:
    """The error of a cursor that no page gave."""
    return InvalidArgument(
        "The cursor is not one of this list.", field="cursor", hint="Give the next_cursor of the page before."
    )
