"""The same work on the bare libraries: what remains when nobody keeps a registry, checks a type or reports a status.

These are the yardsticks: a few lines that a careful engineer would write by hand for one job. They keep Tiffin's rules
where the rules cost something: ties go to the latest created, max age is inclusive, every entity row is answered in
its order.
"""

# mypy: disable-error-code="import-not-found,import-untyped"

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import clock
from benchmarks.answers import fingerprint
from benchmarks.data import entities_path, table_path
from benchmarks.shapes import CREATED, ENTITY, EVENT, MAX_AGE, Shape


def polars_join(shape: dict[str, Any], data: str, warm: dict[str, Any]) -> dict[str, Any]:
    """Polars' own as-of join."""
    polars_answer(Shape(**warm["shape"]), Path(warm["data"])).to_arrow()
    asked = Shape(**shape)
    spent, answer = clock.seconds(lambda: polars_answer(asked, Path(data)).to_arrow())
    return {
        "seconds": spent,
        **fingerprint(answer, [f"{table}__{asked.feature_names[0]}" for table in asked.table_names]),
    }


def polars_answer(shape: Shape, data: Path) -> Any:
    """Scan the needed columns, drop foreign keys and times out of reach, sort by the tie rule, join, restore the order.

    One order by time serves every key, because the join finds a key by its hash; sorting by the key first takes twice
    as long.
    """
    import polars as pl

    asked = pl.read_parquet(entities_path(data)).with_row_index("_row")
    low, high = asked[EVENT].min(), asked[EVENT].max()
    keys = asked.lazy().select(ENTITY).unique()
    answer = asked.sort(EVENT)
    for table in shape.table_names:
        history = (
            pl.scan_parquet(table_path(data, shape, table))
            .filter(pl.col(EVENT).is_between(pl.lit(low) - MAX_AGE, pl.lit(high)))
            .join(keys, on=ENTITY, how="semi")
            .collect()
            .sort(EVENT, CREATED)
            .select(ENTITY, pl.col(EVENT).alias("_event"), pl.col(shape.feature_names).name.prefix(f"{table}__"))
        )
        answer = answer.join_asof(
            history,
            left_on=EVENT,
            right_on="_event",
            by=ENTITY,
            tolerance=MAX_AGE,
            check_sortedness=False,
            coalesce=True,
        ).drop("_event", strict=False)
    return answer.sort("_row").drop("_row")


def duckdb_join(shape: dict[str, Any], data: str, warm: dict[str, Any]) -> dict[str, Any]:
    """DuckDB's own ASOF join. It runs in Feast's environment, which has DuckDB."""
    _duckdb_answer(Shape(**warm["shape"]), Path(warm["data"]))
    asked = Shape(**shape)
    spent, answer = clock.seconds(lambda: _duckdb_answer(asked, Path(data)))
    return {
        "seconds": spent,
        **fingerprint(answer, [f"{table}__{asked.feature_names[0]}" for table in asked.table_names]),
    }


def _duckdb_answer(shape: Shape, data: Path) -> Any:
    """An ASOF join picks any row among equal times, so ties are settled first. Times are compared in microseconds."""
    import duckdb

    age = MAX_AGE.days * 86_400_000_000
    instants = f"epoch_us({EVENT}) AS _event"
    joins, columns = [], []
    for table in shape.table_names:
        joins.append(
            f"""ASOF LEFT JOIN (
                SELECT {ENTITY}, {instants}, {", ".join(shape.feature_names)}
                FROM read_parquet('{table_path(data, shape, table)}')
                WHERE {ENTITY} IN (SELECT {ENTITY} FROM asked)
                QUALIFY row_number() OVER (PARTITION BY {ENTITY}, {EVENT} ORDER BY {CREATED} DESC) = 1
            ) AS {table} ON asked.{ENTITY} = {table}.{ENTITY} AND asked._event >= {table}._event"""
        )
        fresh = f"asked._event - {table}._event <= {age}"
        columns += [f"CASE WHEN {fresh} THEN {table}.{name} END AS {table}__{name}" for name in shape.feature_names]
    query = f"""
        WITH asked AS (
            SELECT *, {instants}, file_row_number FROM read_parquet('{entities_path(data)}', file_row_number = true)
        )
        SELECT asked.{ENTITY}, asked.{EVENT}, {", ".join(columns)}
        FROM asked {" ".join(joins)} ORDER BY asked.file_row_number"""
    with duckdb.connect() as connection:
        return connection.sql(query).to_arrow_table()


def lmdb_read(shape: dict[str, Any], rows: int, times: int, home: str) -> dict[str, Any]:
    """Get and unpack whole rows: no names, no statuses, no event times checked."""
    import lmdb

    asked = Shape(**shape)
    unpack = _row_struct(asked).unpack
    with lmdb.open(home, readonly=True) as environment:

        def read(keys: list[int]) -> list[tuple[Any, ...]]:
            with environment.begin(buffers=True) as transaction:
                return [unpack(transaction.get(key.to_bytes(8, "big")) or b"") for key in keys]

        return clock.calls(read, asked.random_keys(rows, times), warm_up=times // 10)


def lmdb_write(shape: dict[str, Any], data: str, warm: dict[str, Any], home: str) -> dict[str, Any]:
    """Parquet to LMDB: the latest row of each key, packed, put in transactions of ten thousand. Nothing is compared."""
    (Path(home) / "warm").mkdir()
    _fill_lmdb(Shape(**warm["shape"]), Path(warm["data"]), Path(home) / "warm")
    asked = Shape(**shape)
    spent, written = clock.seconds(lambda: _fill_lmdb(asked, Path(data), Path(home)))
    return {"seconds": spent, "rows": written}


def redis_write(shape: dict[str, Any], data: str, warm: dict[str, Any], online: str, home: str) -> dict[str, Any]:
    """Parquet to Redis: the latest row of each key, packed, as pipelined SETs. Nothing is compared."""
    import redis

    asked, pack = Shape(**shape), _row_struct(Shape(**shape)).pack
    client = redis.Redis.from_url(online)

    def work() -> int:
        frame = _latest(asked, Path(data))
        for batch in frame.iter_slices(10_000):
            with client.pipeline(transaction=False) as pipeline:
                for key, value in _packed(batch, pack):
                    pipeline.set(key, value)
                pipeline.execute()
        written: int = frame.height
        return written

    spent, written = clock.seconds(work)
    return {"seconds": spent, "rows": written}


def lmdb_fill(shape: dict[str, Any], data: str, home: str) -> dict[str, Any]:
    """The rows that `lmdb_read` reads."""
    return {"seconds": 0.0, "rows": _fill_lmdb(Shape(**shape), Path(data), Path(home))}


def _latest(shape: Shape, data: Path) -> Any:
    import polars as pl

    return (
        pl.scan_parquet(table_path(data, shape, "t0"))
        .sort(ENTITY, EVENT, CREATED)
        .unique(ENTITY, keep="last", maintain_order=True)
        .with_columns(pl.col(EVENT, CREATED).to_physical())
        .select(ENTITY, EVENT, CREATED, *shape.feature_names)
        .collect()
    )


def _fill_lmdb(shape: Shape, data: Path, home: Path) -> int:
    import lmdb

    frame = _latest(shape, data)
    written: int = frame.height
    pack = _row_struct(shape).pack
    with lmdb.open(str(home), map_size=8 << 30) as environment:
        for batch in frame.iter_slices(10_000):
            with environment.begin(write=True) as transaction, transaction.cursor() as cursor:
                cursor.putmulti(_packed(batch, pack))
    return written


def _packed(batch: Any, pack: Any) -> Iterator[tuple[bytes, bytes]]:
    for key, *values in batch.iter_rows():
        yield key.to_bytes(8, "big"), pack(*values)


def _row_struct(shape: Shape) -> struct.Struct:
    return struct.Struct(f"<qqq{shape.features - 1}d")


def delta_write(shape: dict[str, Any], data: str, warm: dict[str, Any], partitioned: bool, home: str) -> dict[str, Any]:
    """Read the Parquet file and append it to a Delta table."""
    _append_delta(Path(home) / "warm", Shape(**warm["shape"]), Path(warm["data"]), partitioned)
    asked = Shape(**shape)
    spent, rows = clock.seconds(lambda: _append_delta(Path(home) / "table", asked, Path(data), partitioned))
    return {"seconds": spent, "rows": rows}


def _append_delta(folder: Path, shape: Shape, data: Path, partitioned: bool) -> int:
    import polars as pl
    from deltalake import write_deltalake

    frame = pl.read_parquet(table_path(data, shape, "t0"))
    if partitioned:
        frame = frame.with_columns(date=pl.col(EVENT).dt.strftime("%Y-%m-%d"))
    write_deltalake(folder, frame, partition_by=["date"] if partitioned else None, mode="append")
    return frame.height
