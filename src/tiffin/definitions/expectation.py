"""Expectations: what the rows of a table must satisfy beyond their types, declared as data.

Rows that fail are treated as invalid on every path of ingestion (semantics, section 5). A null passes all but NotNull.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any, Final

from tiffin.definitions import base
from tiffin.errors import InvalidDefinition

Scalar = bool | int | float | str

_SNAKE: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_INT64: Final = range(-(2**63), 2**63)


class Expectation(base.Value, tag_field="type"):
    """The root of expectations."""

    def _coerce(self, name: str, value: Any) -> Any:
        if name in {"column", "pattern"}:
            return base.text(value, field=name)
        if name == "values":
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise InvalidDefinition(f"values must be a list, got {value!r}.", field=name)
            return [_scalar(item, field=name) for item in value]
        return value if value is None else _number(value, field=name)

    def columns(self) -> tuple[str, ...]:
        """The entity or feature names it reads."""
        return (self.column,) if hasattr(self, "column") else ()

    def label(self) -> str:
        """What counters of failed rows call it, such as ``between_trips_0_100``."""
        return "_".join((_SNAKE.sub("_", type(self).__name__).lower(), *self.columns()))

    def check(self) -> None:
        """Raise InvalidDefinition where a rule is broken."""
        self.recoerce()


class NotNull(Expectation, tag="notNull"):
    """The column holds a value in every row."""

    column: str


class Between(Expectation, tag="between"):
    """``minimum <= value <= maximum``; None leaves a side open. NaN does not pass."""

    column: str
    minimum: int | float | None = None
    maximum: int | float | None = None

    def label(self) -> str:
        """With its bounds, since a column may have several."""
        bounds = ("" if bound is None else f"_{bound:g}" for bound in (self.minimum, self.maximum))
        words = {(False, True): "at_least", (True, False): "at_most"}
        kind = words.get((self.minimum is None, self.maximum is None), "between")
        return f"{kind}_{self.column}{''.join(bounds)}"

    def check(self) -> None:
        """A bound is needed, and they must not be crossed."""
        super().check()
        if self.minimum is None and self.maximum is None:
            raise InvalidDefinition(f"Between on {self.column!r} needs a minimum or a maximum.", field=self.column)
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise InvalidDefinition(
                f"Between on {self.column!r}: minimum {self.minimum} is greater than maximum {self.maximum}.",
                field=self.column,
            )


class InSet(Expectation, tag="inSet"):
    """The value is one of ``values``."""

    column: str
    values: list[Scalar]

    def check(self) -> None:
        """A value is needed."""
        super().check()
        if not self.values:
            raise InvalidDefinition(f"InSet on {self.column!r} needs values.", field=self.column)


class Matches(Expectation, tag="matches"):
    """The text contains a match of the regular expression ``pattern``; anchor it to match the whole.

    The time a search takes grows with the text and no faster, whatever the pattern: so there is no look-around and no
    back-reference. The syntax is that of Rust's crate ``regex``.
    """

    column: str
    pattern: str

    def check(self) -> None:
        """The pattern must compile."""
        super().check()
        import polars as pl  # only where there is such an expectation: the registry gets by without

        try:
            pl.Series([""]).str.contains(self.pattern)
        except pl.exceptions.ComputeError as error:
            lines = str(error).splitlines()
            reason = next((line for line in lines if line.startswith("error: ")), lines[0]).partition(": ")[2]
            raise InvalidDefinition(
                f"Matches on {self.column!r}: {self.pattern!r} is not a regular expression that can be searched for "
                f"in linear time: {reason.rstrip('.')}.",
                field=self.column,
                hint="Leave out look-around and back-references; \\z is the end of the text.",
            ) from None


class UniqueKeyAndTime(Expectation, tag="uniqueKeyAndTime"):
    """No two rows of one batch have the same key and event time."""


def _number(value: object, *, field: str) -> int | float:
    """A finite number that fits 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not _fits(value):
        raise InvalidDefinition(f"{field} must be a finite number of at most 64 bits, got {value!r}.", field=field)
    return value


def _scalar(value: object, *, field: str) -> Scalar:
    if isinstance(value, bool):
        return value
    return base.text(value, field=field) if isinstance(value, str) else _number(value, field=field)


def _fits(value: float) -> bool:
    return value in _INT64 if isinstance(value, int) else math.isfinite(value)


AnyExpectation = NotNull | Between | InSet | Matches | UniqueKeyAndTime
