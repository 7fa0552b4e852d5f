"""Erase: rows of some keys leave every place that is reached, and are kept from coming back (semantics, section 10).

First the keys, as hashes, are recorded where every writer looks for them. Then each :class:`Place` is asked to remove
what it holds. One that cannot be changed at all is told among what was not reached; one that is away remains, and the
erasure with it, until the same command, or recovery, has found all of them. Whatever was done stays done.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec
import polars as pl

from tiffin import clock
from tiffin.control import UNWATCHED, Control
from tiffin.definitions.schema import Column
from tiffin.errors import InvalidArgument, TiffinError, Unsupported
from tiffin.ingest.erased import DIGEST_BYTES, digests_of, matching
from tiffin.online.codec import encode_keys, key_signature
from tiffin.online.keys import Coercion
from tiffin.registry.erasures import DONE, RUNNING, Erasure, ErasureSource
from tiffin.types import ValueType, polars_type

#: What stands where a key stood in a text that is kept.
BLANK: Final = "[erased]"
#: Seconds between the removal and another look at places that writers at work may have written to in between.
SETTLE_S: Final = 0.5

_WHOLE: Final = (ValueType.INT32, ValueType.INT64)


class Subject:
    """The keys of one entity that are erased: by value, or, where work is taken up again, by hash alone."""

    def __init__(self, project: str, column: Column, salt: bytes, digests: Iterable[bytes], values: pl.Series | None):
        self.project = project
        self.column = column
        self.digests = frozenset(digests)
        self.values = values
        self._salt = salt

    @classmethod
    def of(cls, project: str, column: Column, salt: bytes, values: Sequence[Any]) -> Subject:
        """The keys that a caller names; InvalidArgument for one that is not of the entity's type, or null."""
        keys = key_series(column, values)
        return cls(project, column, salt, digests_of(column, project, salt, keys), keys)

    def gone(self, keys: pl.Series) -> pl.Series | None:
        """Which of the entity's keys are erased ones; None where none is."""
        if self.values is None:
            frame = keys.alias(self.column.name).to_frame()
            return matching(self.column, self.project, self._salt, self.digests, frame)
        found = keys.is_in(self.values.implode()).fill_null(value=False)
        return found if found.any() else None

    def has(self, part: bytes) -> bool:
        """Whether the bytes of one key, as it stands in keys of online stores, are those of an erased one."""
        if self.values is not None:
            return part in self.parts
        told = f"{self.project}\0".encode() + key_signature((self.column,)) + part
        return blake2b(told, digest_size=DIGEST_BYTES, key=self._salt).digest() in self.digests

    @cached_property
    def parts(self) -> frozenset[bytes]:
        """The bytes of each key, as they stand in keys of online stores."""
        assert self.values is not None, "they are not known by hash"
        start = len(key_signature((self.column,)))
        return frozenset(key[start:] for key in encode_keys((self.column,), self.values.to_frame()))

    @cached_property
    def pattern(self) -> str | None:
        """What finds a key as a word of a text; None where keys are not known, or are no texts."""
        if self.values is None or self.column.dtype is ValueType.BYTES:
            return None
        words = "|".join(re.escape(text) for text in self.values.cast(pl.String).to_list() if text.strip())
        return rf"(^|[^0-9A-Za-z_])({words})($|[^0-9A-Za-z_])" if words else None

    @property
    def is_number(self) -> bool:
        """Whether keys are numbers, which texts may hold for other reasons."""
        return self.column.dtype in _WHOLE

    def blanked(self, text: str) -> str:
        """A text without the keys in it."""
        return text if self.pattern is None else re.sub(self.pattern, rf"\1{BLANK}\3", text)


def key_series(column: Column, values: Sequence[Any]) -> pl.Series:
    """A caller's keys in the entity's type, each once."""
    coerced = Coercion(column).column(list(values))
    if not coerced or None in coerced:
        raise InvalidArgument(
            f"No key, or a null one, was given for entity {column.name!r}.",
            field=column.name,
            hint="Name the keys to erase.",
        )
    raw = pl.Int64() if column.dtype is ValueType.UNIX_TIMESTAMP else polars_type(column.dtype)
    return pl.Series(column.name, coerced, raw).cast(polars_type(column.dtype)).unique(maintain_order=True)


class Done(NamedTuple):
    """What a place did: how many rows went, and what it holds that it could not remove, with the reason."""

    rows: int = 0
    left: tuple[str, ...] = ()


class Work(msgspec.Struct, frozen=True):
    """One look at a place. ``fence`` is the version of the registry that writers must know; ``dry_run`` only counts."""

    subject: Subject
    fence: int
    dry_run: bool = False
    control: Control = UNWATCHED


class Place(Protocol):
    """Somewhere that rows may be. Asked again, it removes what came since.

    Logs of what was served, and whatever else keeps keys, are further places.
    """

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def settles(self) -> bool:
        """Whether writers at work may write to it once more, so that it must be looked at a second time."""
        ...

    def erase(self, work: Work) -> Done:
        """Remove the rows of the subject's keys.

        Unsupported where the place cannot be changed at all; another of Tiffin's errors where it is away.
        """
        ...


class ErasureReport(msgspec.Struct, frozen=True):
    """What an erasure did, in no place with a key in it.

    ``removed`` counts rows by place. ``remaining`` tells of places that could not be asked: the same call takes the
    work up again. ``not_reached`` lists where rows may be that no call reaches. ``ids`` name the erasures, one a key.
    """

    project: str
    entity: str
    keys: int
    state: Literal["DONE", "RUNNING", "DRY_RUN"]
    removed: dict[str, int] = {}
    remaining: dict[str, str] = {}
    not_reached: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows went, or with a dry run would."""
        return sum(self.removed.values())

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return msgspec.structs.asdict(self) | {"rows": self.rows}


def erase(
    subject: Subject,
    places: Sequence[Place],
    source: ErasureSource,
    *,
    by: str,
    not_reached: Sequence[str] = (),
    control: Control = UNWATCHED,
) -> ErasureReport:
    """Record that keys are erased, and remove their rows from places.

    The record comes first: from then on no writer stores such rows. Unavailable, and nothing is done, where the
    registry is away.
    """
    digests = sorted(digest.hex() for digest in subject.digests)
    begun = source.begin(subject.project, subject.column.name, digests, by=by)
    fence = max(erasure.version for erasure in begun)
    report = _asked(Work(subject, fence, control=control), places, not_reached)
    source.record([(each, _kept(report, each)) for each in begun], state=report.state, by=by)
    return msgspec.structs.replace(report, ids=tuple(erasure.id for erasure in begun))


def counted(
    subject: Subject, places: Sequence[Place], *, not_reached: Sequence[str] = (), control: Control = UNWATCHED
) -> ErasureReport:
    """What :func:`erase` would remove; nothing is changed or recorded."""
    report = _asked(Work(subject, 0, dry_run=True, control=control), places, not_reached)
    return msgspec.structs.replace(report, state="DRY_RUN")


def _asked(work: Work, places: Sequence[Place], not_reached: Sequence[str]) -> ErasureReport:
    tally = _Tally(work)
    for place in places:
        tally.ask(place)
    settling = [place for place in places if place.settles and place.name not in tally.remaining]
    if settling and not work.dry_run:
        time.sleep(SETTLE_S)
        for place in settling:
            tally.ask(place)
    subject = work.subject
    return ErasureReport(
        subject.project,
        subject.column.name,
        len(subject.digests),
        RUNNING if tally.remaining else DONE,
        {name: rows for name, rows in tally.removed.items() if rows},
        tally.remaining,
        tuple(dict.fromkeys((*map(subject.blanked, tally.left), *not_reached))),
    )


class _Tally:
    """What places said."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.removed: dict[str, int] = {}
        self.remaining: dict[str, str] = {}
        self.left: list[str] = []

    def ask(self, place: Place) -> None:
        """Have a place remove what it holds."""
        self._work.control.check()
        try:
            done = place.erase(self._work)
        except Unsupported as error:
            self.left.append(f"{place.name}: {error.message}")
        except TiffinError as error:
            self.remaining[place.name] = self._work.subject.blanked(f"{type(error).__name__}: {error.message}")
        else:
            self.removed[place.name] = self.removed.get(place.name, 0) + done.rows
            self.left += [f"{place.name}: {each}" for each in done.left]
            self._work.control.log(f"{place.name}: {done.rows} rows")


def _kept(report: ErasureReport, erasure: Erasure) -> Mapping[str, Any]:
    """What the registry keeps of a report: with what earlier runs of the same erasure had removed."""
    removed = dict(erasure.report.get("removed", {}))
    for name, rows in report.removed.items():
        removed[name] = removed.get(name, 0) + rows
    return {
        "keys": report.keys,
        "removed": removed,
        "remaining": report.remaining,
        "not_reached": list(report.not_reached),
        "ran": [*erasure.report.get("ran", []), clock.to_iso(clock.now())],
    }
