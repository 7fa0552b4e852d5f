"""Instants that are written as texts: one reading of ISO 8601, for rows that come in and for questions alike."""

from __future__ import annotations

from typing import Final

import polars as pl

from tiffin.coerce import Rounding

_ISO: Final = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$"


def from_iso(text: pl.Expr, rounding: Rounding) -> pl.Expr:
    """The instants of texts, each by itself: in its own zone, or in UTC where it has none. Null for other texts.

    Times finer than a microsecond are rounded as ``rounding`` says.
    """
    iso = pl.when(text.str.contains(_ISO)).then(
        text.str.replace(" ", "T", literal=True)
        .str.replace(r"Z$", "+00:00")
        .str.replace(r"([+-]\d{2})(\d{2})$", "$1:$2")
    )
    date_only = iso.str.replace(r"^(\d{4}-\d{2}-\d{2})$", "${1}T00:00")
    with_seconds = date_only.str.replace(r"(T\d{2}:\d{2})($|[+-])", "${1}:00$2")
    zoned = with_seconds.str.replace(r"(T[\d:.]+)$", "$1+00:00")
    parsed = zoned.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False)
    if rounding == "down":
        return parsed
    late = pl.when(zoned.str.contains(r"\.\d{6}\d*[1-9]")).then(pl.duration(microseconds=1))
    return parsed + late.otherwise(pl.duration(microseconds=0))
