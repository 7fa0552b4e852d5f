"""Training and serving agree: a training set at T = now holds what the online store answers, value for value."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings

from tests.client.histories import ENTITIES, FEATURES, KEYS, History, bits, histories
from tiffin import Client, FeatureTable, FileSource, clock
from tiffin.data_format import ParquetFormat

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client(home=str(tmp_path_factory.mktemp("parity"))) as client:
        client.apply(ENTITIES)
        yield client


def table_of(history: History, folder: Path) -> FeatureTable:
    source = FileSource(
        "at",
        ParquetFormat(),
        str(folder),
        created_timestamp_column="made" if history.with_created else "",
    )
    return FeatureTable(
        name=folder.name,
        entities=list(history.entities),
        features=FEATURES,
        batch_source=source,
        max_age=history.max_age,
        deleted_column="gone" if history.with_deleted else "",
    )


def check(client: Client, history: History, *, as_files: bool) -> None:
    folder = Path(client.config.home) / "histories" / f"t{next(NUMBERS)}"
    table = table_of(history, folder)
    client.apply(table)
    for number, frame in enumerate(history.frames(clock.now())):
        if as_files:
            folder.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(folder / f"part-{number}.parquet")
        else:
            client.ingest(table.name, frame)
        if history.seen[number]:
            client.materialize_incremental(table.name)
    client.materialize_incremental(table.name)
    assert_agree(client, table)


def assert_agree(client: Client, table: FeatureTable) -> None:
    """Every key, and one that there is not, at this instant."""
    now = clock.now()
    keys = KEYS[tuple(table.entities)]
    rows = [dict(zip(table.entities, key, strict=True)) for key in keys]
    refs = [f"{table.name}:{feature.name}" for feature in table.features]
    at = pl.Series("event_timestamp", [now] * len(rows)).cast(pl.Datetime("us", "UTC"))
    offline = client.get_historical_features(refs, pl.DataFrame(rows).with_columns(at)).to_polars()
    response = client.get_online_features(refs, [row | {"event_timestamp": now} for row in rows])
    online = response.to_polars()
    for feature, ref in zip(table.features, refs, strict=True):
        trained, served = offline[f"{table.name}__{feature.name}"], online[ref]
        assert trained.dtype == served.dtype
        assert list(map(bits, trained.to_list())) == list(map(bits, served.to_list())), feature.name
        present = [status == "PRESENT" for status in response.statuses()[ref]]
        assert present == trained.is_not_null().to_list()


@given(history=histories())
@settings(max_examples=130)
def test_through_ingest(client: Client, history: History) -> None:
    check(client, history, as_files=False)


@given(history=histories())
@settings(max_examples=70)
def test_from_plain_files(client: Client, history: History) -> None:
    check(client, history, as_files=True)


@pytest.mark.filterwarnings("ignore::tiffin.errors.StaleStoreWarning")
def test_the_check_would_notice(client: Client) -> None:
    """A row that never went online must be told from one that did."""
    (client.config.home / "histories").mkdir(exist_ok=True)
    folder = client.config.home / "histories" / f"t{next(NUMBERS)}"
    history = History(("number",), [], [], None, with_created=False, with_deleted=False)
    table = table_of(history, folder)
    client.apply(table)
    row: dict[str, Any] = {"number": [1], "at": [clock.to_datetime(clock.now())]}
    row |= {feature.name: pl.Series([None], dtype=pl.Null) for feature in FEATURES} | {"f_int64": [7]}
    client.ingest(table.name, pl.DataFrame(row))
    with pytest.raises(AssertionError):
        assert_agree(client, table)
