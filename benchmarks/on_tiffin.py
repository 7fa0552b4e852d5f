"""The same work on Tiffin, by its public names: an embedded client, registry and stores in one fresh folder."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks import clock
from benchmarks.answers import fingerprint
from benchmarks.data import entities_path, table_path
from benchmarks.shapes import CREATED, END, ENTITY, EVENT, MAX_AGE, SPAN, Shape

_ALL_TIME = {"start": END - SPAN - timedelta(days=1), "end": END + timedelta(days=1)}


def join(shape: dict[str, Any], data: str, warm: dict[str, Any], home: str) -> dict[str, Any]:
    """The entity rows are given by the path of their file."""
    asked = Shape(**shape)
    small = Shape(**warm["shape"])
    client = _client(home)
    client.apply([_entity(), *_tables(asked, data, MAX_AGE), *_tables(small, warm["data"], MAX_AGE, prefix="warm_")])

    def work(about: Shape, folder: str, prefix: str = "") -> Any:
        entities = str(entities_path(Path(folder)))
        return client.get_historical_features(_references(about, prefix), entities).to_arrow()

    work(small, warm["data"], "warm_")
    spent, answer = clock.seconds(lambda: work(asked, data))
    return {
        "seconds": spent,
        **fingerprint(answer, [f"{table}__{asked.feature_names[0]}" for table in asked.table_names]),
    }


def agrees(shape: dict[str, Any], data: str, home: str) -> dict[str, Any]:
    """Whether Tiffin's answer equals that of bare Polars, value by value. Columns may come in another order."""
    import polars as pl
    from polars.testing import assert_frame_equal

    from benchmarks.on_libraries import polars_answer

    asked = Shape(**shape)
    client = _client(home)
    client.apply([_entity(), *_tables(asked, data, MAX_AGE)])
    ours = client.get_historical_features(_references(asked), str(entities_path(Path(data)))).to_polars()
    bare = polars_answer(asked, Path(data))
    try:
        assert_frame_equal(pl.DataFrame(ours), bare, check_column_order=False)
    except AssertionError as difference:
        return {"seconds": 0.0, "difference": " ".join(str(difference).split())}
    return {"seconds": 0.0, "difference": ""}


def join_to_files(shape: dict[str, Any], data: str, budget_mb: int, home: str) -> dict[str, Any]:
    """A join that does not fit: the answer, too, goes to files, as it would for a training set of that size."""
    asked = Shape(**shape)
    client = _client(home, memory_budget=f"{budget_mb}MB")
    client.apply([_entity(), *_tables(asked, data, MAX_AGE)])
    output = Path(home) / "bench-answer"
    before = clock.peak_mb()

    def work() -> None:
        job = client.get_historical_features(
            _references(asked), str(entities_path(Path(data))), output_location=str(output)
        )
        job.get_output_file_uri(timeout_sec=1800)

    spent, _ = clock.seconds(work)
    peak = clock.peak_mb()  # Taken now: looking at the answer must not count.
    first = f"t0__{asked.feature_names[0]}"
    return {"seconds": spent, "peak_mb": peak, "before_mb": before, **fingerprint(_written(output, first), [first])}


def _written(output: Path, column: str) -> Any:
    import polars as pl

    return pl.scan_parquet(sorted(output.rglob("*.parquet"))).select(column).collect().to_arrow()


def fill(shape: dict[str, Any], data: str, home: str, online: str = "") -> dict[str, Any]:
    """The rows that `read` reads. No max age: the generated events are old, and would be answered without values."""
    client = _client(home, online_store=online)
    client.apply([_entity(), *_tables(Shape(**shape), data, timedelta(0))])
    client.materialize(["t0"], **_ALL_TIME)
    return {"seconds": 0.0}


def read(shape: dict[str, Any], rows: int, times: int, home: str) -> dict[str, Any]:
    """Online reads from the embedded store, from the call to plain values in Python."""
    asked = Shape(**shape)
    client = _client(home)
    features = _references(asked)

    def call(keys: list[int]) -> dict[str, Any]:
        answer: dict[str, Any] = client.get_online_features(features, [{ENTITY: key} for key in keys]).to_dict()
        return answer

    first = f"t0:{asked.feature_names[0]}"
    if call([0])[first] == [None]:
        raise RuntimeError(f"key 0 reads no value for {first} after materialize: there is nothing to time")
    return clock.calls(call, asked.random_keys(rows, times), warm_up=times // 10)


def materialize(shape: dict[str, Any], data: str, warm: dict[str, Any], home: str, online: str = "") -> dict[str, Any]:
    """The whole table into the embedded online store, or into Redis."""
    asked = Shape(**shape)
    client = _client(home, online_store=online)
    small = _tables(Shape(**warm["shape"]), warm["data"], timedelta(0), prefix="warm_")
    client.apply([_entity(), *_tables(asked, data, timedelta(0)), *small])
    client.materialize(["warm_t0"], **_ALL_TIME)
    spent, _ = clock.seconds(lambda: client.materialize(["t0"], **_ALL_TIME))
    return {"seconds": spent, "rows": asked.keys}


def ingest(shape: dict[str, Any], data: str, warm: dict[str, Any], partitioned: bool, home: str) -> dict[str, Any]:
    """Append a Parquet file to the table's own folder: validated, ranked and committed."""
    from tiffin import FeatureTable

    asked, small = Shape(**shape), Shape(**warm["shape"])
    client = _client(home)
    tables = []
    for name, about in (("t0", asked), ("warm_t0", small)):
        source = _source(Path(home) / "bench-source" / name, "date" if partitioned else "")
        tables.append(FeatureTable(name=name, entities=[ENTITY], features=_features(about), batch_source=source))
    client.apply([_entity(), *tables])
    client.ingest("warm_t0", str(table_path(Path(warm["data"]), small, "t0")))
    spent, _ = clock.seconds(lambda: client.ingest("t0", str(table_path(Path(data), asked, "t0"))))
    return {"seconds": spent, "rows": asked.rows}


def apply(tables: int, shape: dict[str, Any], data: str, home: str) -> dict[str, Any]:
    """Plan and then apply one entity and `tables` feature tables, each in one call."""
    made = Shape(**shape)
    client = _client(home)
    objects = [_entity(), *(_table(made, data, "t0", f"view_{number}", MAX_AGE) for number in range(tables))]

    def work() -> None:
        client.plan(objects)
        client.apply(objects)

    spent, _ = clock.seconds(work)
    return {"seconds": spent}


def _client(home: str, **options: str) -> Any:
    from tiffin import Client

    return Client({"home": home, **{name: value for name, value in options.items() if value}})


def _entity() -> Any:
    from tiffin import Entity, ValueType

    return Entity(ENTITY, value_type=ValueType.INT64)


def _tables(shape: Shape, data: str, max_age: timedelta, prefix: str = "") -> list[Any]:
    return [_table(shape, data, table, prefix + table, max_age) for table in shape.table_names]


def _table(shape: Shape, data: str, table: str, name: str, max_age: timedelta) -> Any:
    from tiffin import FeatureTable

    source = _source(table_path(Path(data), shape, table))
    return FeatureTable(name=name, entities=[ENTITY], features=_features(shape), batch_source=source, max_age=max_age)


def _source(path: Path, date_partition_column: str = "") -> Any:
    from tiffin import FileSource
    from tiffin.data_format import ParquetFormat

    return FileSource(
        event_timestamp_column=EVENT,
        file_format=ParquetFormat(),
        file_url=str(path),
        created_timestamp_column=CREATED,
        date_partition_column=date_partition_column,
    )


def _features(shape: Shape) -> list[Any]:
    from tiffin import Feature, ValueType

    first, *others = shape.feature_names
    return [Feature(first, ValueType.INT64), *(Feature(other, ValueType.DOUBLE) for other in others)]


def _references(shape: Shape, prefix: str = "") -> list[str]:
    return [f"{prefix}{table}:{feature}" for table in shape.table_names for feature in shape.feature_names]
