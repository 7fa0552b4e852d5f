"""Frames: what callers hand over as a table, as one Polars frame. Neither pandas nor pyarrow is imported."""

from __future__ import annotations

from typing import Any

import polars as pl

from tiffin.errors import InvalidArgument, MissingDependency


def is_frame(source: object) -> bool:
    """Whether this is a frame of pandas or Polars, or anything that exports Arrow, such as a table or record batch."""
    return isinstance(source, pl.DataFrame | pl.LazyFrame) or is_pandas(source) or hasattr(source, "__arrow_c_stream__")


def is_pandas(source: object) -> bool:
    """Whether this is a pandas frame."""
    return type(source).__module__.partition(".")[0] == "pandas" and type(source).__name__ == "DataFrame"


def lazy_frame(source: Any, *, field: str = "source") -> pl.LazyFrame:
    """A frame, lazily. The caller's own is never changed, and a pandas index is left out.

    NaN in a pandas column means null, in all others it is a value (semantics, section 2).
    """
    if isinstance(source, pl.LazyFrame):
        return source
    if isinstance(source, pl.DataFrame):
        return source.lazy()
    try:
        # Pandas' own Arrow export would bring the index along as a column.
        frame = pl.from_pandas(source) if is_pandas(source) else pl.DataFrame(source)
    except ImportError:
        raise MissingDependency("pyarrow", extra="pandas", purpose="Reading a pandas frame") from None
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InvalidArgument(
            f"{field}: a {type(source).__module__}.{type(source).__name__} cannot be read as a table: {error}",
            field=field,
            hint="Give a pandas, Polars or Arrow frame whose columns hold values of one type each.",
        ) from error
    return frame.lazy()
