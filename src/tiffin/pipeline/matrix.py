"""Rows as the model takes them: one float64 a feature, NaN where there is no value.

Training and serving both come through here, so that a value means the same to a model whichever way it came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from tiffin.errors import InvalidData
from tiffin.types import ValueType

#: What a model can take: numbers and truth values.
NUMERIC: Final = (ValueType.INT32, ValueType.INT64, ValueType.DOUBLE, ValueType.FLOAT, ValueType.BOOL)


def matrix(frame: pl.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """A frame's columns in the order given, float64 of shape (rows, columns); null becomes NaN.

    InvalidData where a column is missing or holds no numbers.
    """
    for column in columns:
        if column not in frame.columns:
            raise InvalidData(
                f"The rows have no column {column!r}.", field=column, hint=f"They have: {', '.join(frame.columns)}."
            )
        dtype = frame.schema[column]
        if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
            raise InvalidData(
                f"Column {column!r} holds {dtype}: a model of this pipeline takes numbers and truth values.",
                field=column,
                hint="Leave the feature out, or register one that encodes it as a number.",
            )
    if not columns:
        return np.empty((frame.height, 0))
    wanted = [pl.col(column).cast(pl.Float64).fill_null(float("nan")) for column in columns]
    return np.ascontiguousarray(frame.select(wanted).to_numpy(), dtype=np.float64)
