"""Single: one row of numbers, which is what most requests ask for, by the shortest way from key to bytes.

It answers what it is for, and nothing else: one entity that is an integer, one table, features that are numbers or
booleans, all of them present. Whatever differs takes the general way, whose answer this one's equals byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from tiffin import clock
from tiffin.online.read import ReadPlan
from tiffin.serving.online.wire import encode
from tiffin.types import ValueType

_NUMBERS: Final = frozenset({ValueType.INT32, ValueType.INT64, ValueType.FLOAT, ValueType.DOUBLE, ValueType.BOOL})
_WHOLE: Final = frozenset({ValueType.INT32, ValueType.INT64})
_EPOCH: Final = b'"1970-01-01T00:00:00Z"'


class Single:
    """The short way for one plan and the names that Feast's shape gives its features."""

    def __init__(self, entity: str, plan: ReadPlan, names: Sequence[str]) -> None:
        assert plan.lone is not None  # asked by `single`
        self._table, coercion = plan.lone
        self._limit = coercion.limit or 0
        #: The entity whose key is asked for, and the table that is read.
        self.entity = entity
        self.table = self._table.id
        column = b'{"values":[%b],"statuses":["PRESENT"],"event_timestamps":[%b]}'
        shape = b",".join([column] * (1 + len(names)))
        ends = encode({"feature_names": [entity, *names]}).replace(b"%", b"%%")
        self._template = b'{"results":[' + shape + b'],"metadata":' + ends + b"}"

    def key(self, value: Any) -> bytes | None:
        """The key to read; None for anything but an integer in the entity's range."""
        return self._table.encode_one(value) if type(value) is int and -self._limit <= value < self._limit else None

    def answer(self, key: int, value: bytes) -> bytes | None:
        """The body of the answer; None where the row takes the general way."""
        row = self._table.row(value, clock.now())
        if row is None:
            return None
        event, numbers = row
        total = sum(numbers)
        if total - total != 0:
            return None  # NaN or infinite
        try:
            time = encode(clock.EPOCH + timedelta(microseconds=event))
        except OverflowError:
            return None
        parts = [b"%d" % key, _EPOCH]
        for text in encode(numbers)[1:-1].split(b","):
            parts += (text, time)
        return self._template % tuple(parts)


def single(plan: ReadPlan, names: Sequence[str]) -> Single | None:
    """The short way for a plan, where there is one."""
    if plan.lone is None or not _NUMBERS.issuperset(plan.dtypes):
        return None
    ((entity, dtype),) = plan.entity_types.items()
    return Single(entity, plan, names) if dtype in _WHOLE else None
