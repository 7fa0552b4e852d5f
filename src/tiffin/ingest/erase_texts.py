"""A place of erasure: errors and logs of jobs, which may quote a key, in the registry's database."""

from __future__ import annotations

import polars as pl

from tiffin.errors import Unsupported
from tiffin.ingest.erase import Done, Work
from tiffin.registry.erasures import ErasureSource, ErasureStore


class TextPlace:
    """Texts of the registry's database, in which keys are blanked; they count as rows. Numbers are left alone."""

    name = "texts of jobs"
    settles = False

    def __init__(self, source: ErasureSource) -> None:
        self._source = source

    def erase(self, work: Work) -> Done:
        subject = work.subject
        if subject.is_number:
            return Done()
        if not isinstance(self._source, ErasureStore):
            raise Unsupported("the errors and logs that the registry service keeps of jobs")
        if subject.pattern is None:
            raise Unsupported("the errors and logs of jobs, since the key is not known any more")
        words = subject.values.cast(pl.String).to_list() if subject.values is not None else []
        return Done(self._source.redact(words, subject.blanked, dry_run=work.dry_run))
