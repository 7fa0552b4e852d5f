"""What was ingested is what is read: generated histories against the reference."""

from __future__ import annotations

from hypothesis import given, settings

from tests.ingest.histories import agree
from tiffin.testing.strategies import Case, cases


@settings(max_examples=20)
@given(case=cases(asked=200))
def test_ingested_histories_read_as_the_rows_that_were_given(case: Case) -> None:
    agree(case, seed=case.entities.height + case.files[0].height)
