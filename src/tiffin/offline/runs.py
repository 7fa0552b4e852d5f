"""Runs: neighbouring files that agree in the types of the needed columns, so that one scan reads them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import Any, Final

import msgspec
import polars as pl

from tiffin.definitions.schema import INGESTED_AT_COLUMN
from tiffin.offline.columns import INSTANT
from tiffin.offline.footers import Fields, fields_of
from tiffin.offline.lake import LakeFile, Stamps

#: The number of a row in all files of a history, by which it is fetched again.
AT: Final = "$at"


class Run(msgspec.Struct, frozen=True):
    """Files that are scanned as one.

    ``stored`` are the needed columns that they hold, ``added`` those that they lack, with the value and type to put in
    their place: that of a folder's name, or null. ``first`` is the number of their first row in the history. Of events
    before ``low`` they are not asked, nor of rows that ``stamps`` leave out.
    """

    files: tuple[LakeFile, ...]
    stored: dict[str, pl.DataType]
    added: dict[str, tuple[Any, pl.DataType]]
    first: int = 0
    low: int | None = None
    stamps: Stamps | None = None

    @property
    def types(self) -> Fields:
        """All needed columns with their types."""
        return self.stored | {name: dtype for name, (_, dtype) in self.added.items()}

    @property
    def held(self) -> set[str]:
        """The columns that may have values: those in the files, and those that their folders name."""
        return {*self.stored, *(name for name, (value, _) in self.added.items() if value is not None)}

    def counting(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Those of the scanned rows that count."""
        if self.stamps is None:
            return frame
        if INGESTED_AT_COLUMN not in self.stored:
            return frame.head(0) if self.stamps.inside else frame
        column = pl.col(INGESTED_AT_COLUMN)
        among = column.is_in(pl.Series(self.stamps.instants, dtype=pl.Int64).cast(INSTANT).implode())
        return frame.filter(among if self.stamps.inside else among.fill_null(value=False).not_())

    def scan(self, *, positions: bool = False) -> pl.LazyFrame:
        """The needed columns as they are stored, with the rows' numbers in AT if ``positions``."""
        frame = pl.scan_parquet(
            [file.path for file in self.files],
            schema=self.stored,
            glob=False,
            hive_partitioning=False,
            extra_columns="ignore",
            row_index_name=AT if positions else None,
            row_index_offset=self.first,
        )
        return frame.with_columns(pl.lit(value, dtype).alias(name) for name, (value, dtype) in self.added.items())


class Listing(msgspec.Struct, frozen=True):
    """Files with the columns of each. In columns of ``texts`` a folder's value stays a text, whatever it looks like."""

    files: tuple[LakeFile, ...]
    fields: tuple[Fields, ...]
    texts: frozenset[str]

    @classmethod
    def of(cls, files: Sequence[LakeFile], texts: Collection[str]) -> Listing:
        """Read the footers of files."""
        return cls(tuple(files), tuple(fields_of(files)), frozenset(texts))

    def types(self) -> dict[str, pl.DataType]:
        """Every column that a file or its folder has, with the first type that says something."""
        types: dict[str, pl.DataType] = {}
        for file, fields in zip(self.files, self.fields, strict=True):
            folders = {name: self._from_folder(file, name)[1] for name in file.partition if name not in fields}
            for name, dtype in (*fields.items(), *folders.items()):
                if types.get(name, pl.Null()) == pl.Null():
                    types[name] = dtype
        return types

    def runs(self, names: Sequence[str], types: Mapping[str, pl.DataType]) -> Iterator[Run]:
        """The files in their order, as few runs as can be, reading the columns ``names``."""

        def layout(pair: tuple[LakeFile, Fields]) -> list[Any]:
            file, fields = pair
            columns = [fields[name] if name in fields else self._added(file, name, types) for name in names]
            return [file.stamps, *columns]

        for _, group in groupby(zip(self.files, self.fields, strict=True), key=layout):
            pairs = list(group)
            first, fields = pairs[0]
            yield Run(
                files=tuple(file for file, _ in pairs),
                stored={name: fields[name] for name in names if name in fields},
                added={name: self._added(first, name, types) for name in names if name not in fields},
                stamps=first.stamps,
            )

    def _added(self, file: LakeFile, name: str, types: Mapping[str, pl.DataType]) -> tuple[Any, pl.DataType]:
        return self._from_folder(file, name) if name in file.partition else (None, types[name])

    def _from_folder(self, file: LakeFile, name: str) -> tuple[Any, pl.DataType]:
        text = file.partition[name]
        value = text if name in self.texts else folder_value(text)
        return value, pl.Series([value]).dtype


def folder_value(text: str | None) -> Any:
    """The value of a folder such as ``day=2026-09-01``: a whole number, a date or a text."""
    if text is None:
        return None
    if re.fullmatch(r"-?(0|[1-9]\d{0,17})", text):
        return int(text)
    if re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])", text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            return text
    return text
