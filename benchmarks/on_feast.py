"""The same work on Feast, through its Python interface. Imported by the interpreter of Feast's own environment only."""

# mypy: disable-error-code="import-not-found,import-untyped"

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks import clock
from benchmarks.answers import fingerprint
from benchmarks.data import entities_path, table_path
from benchmarks.shapes import CREATED, END, ENTITY, EVENT, MAX_AGE, SPAN, Shape

_ALL_TIME = (END - SPAN - timedelta(days=1), END + timedelta(days=1))


def join(shape: dict[str, Any], data: str, warm: dict[str, Any], offline: str, home: str) -> dict[str, Any]:
    """Feast takes entity rows as a pandas frame: reading their Parquet file into one belongs to the work."""
    import pandas as pd

    asked = Shape(**shape)
    small = Shape(**warm["shape"])
    store = _store(home, offline)
    store.apply(_views(asked, Path(data), MAX_AGE) + _views(small, Path(warm["data"]), MAX_AGE, prefix="warm_"))

    def work(about: Shape, folder: str, prefix: str = "") -> Any:
        frame = pd.read_parquet(entities_path(Path(folder)))
        return store.get_historical_features(frame, _references(about, prefix), full_feature_names=True).to_arrow()

    work(small, warm["data"], "warm_")
    spent, answer = clock.seconds(lambda: work(asked, data))
    return {
        "seconds": spent,
        **fingerprint(answer, [f"{table}__{asked.feature_names[0]}" for table in asked.table_names]),
    }


def fill(shape: dict[str, Any], data: str, home: str, online: str = "") -> dict[str, Any]:
    """The rows that `read` reads, or that a server started in `home` serves."""
    store = _store(home, "duckdb", online)
    store.apply(_views(Shape(**shape), Path(data), timedelta(0)))
    store.materialize(*_ALL_TIME)
    return {"seconds": 0.0}


def read(shape: dict[str, Any], rows: int, times: int, home: str) -> dict[str, Any]:
    """Online reads from SQLite, the embedded store of Feast."""
    asked = Shape(**shape)
    store = _store(home, "duckdb")
    features = _references(asked)

    def call(keys: list[int]) -> dict[str, Any]:
        answer: dict[str, Any] = store.get_online_features(features, [{ENTITY: key} for key in keys]).to_dict()
        return answer

    if call([0])[asked.feature_names[0]] == [None]:
        raise RuntimeError("key 0 reads no value after materialize: there is nothing to time")
    return clock.calls(call, asked.random_keys(rows, times), warm_up=times // 10)


def materialize(shape: dict[str, Any], data: str, warm: dict[str, Any], home: str, online: str = "") -> dict[str, Any]:
    """The whole table into SQLite, or into Redis."""
    asked = Shape(**shape)
    store = _store(home, "duckdb", online)
    small = _views(Shape(**warm["shape"]), Path(warm["data"]), timedelta(0), prefix="warm_")
    store.apply(_views(asked, Path(data), timedelta(0)) + small)
    store.materialize(*_ALL_TIME, feature_views=["warm_t0"])
    spent, _ = clock.seconds(lambda: store.materialize(*_ALL_TIME, feature_views=["t0"]))
    return {"seconds": spent, "rows": asked.keys}


def push(rows: int, times: int, online: str, home: str) -> dict[str, Any]:
    """Frames of so many rows into Redis, one push after the other: the way in which Feast takes streams."""
    import pandas as pd
    from feast import Entity, FeatureView, Field, FileSource, PushSource, ValueType
    from feast.data_source import PushMode
    from feast.types import Float64

    store = _store(home, "duckdb", online)
    batch = FileSource(name="batch", path=str(Path(home) / "none.parquet"), timestamp_field="event_timestamp")
    driver = Entity(name="driver_id", value_type=ValueType.INT64)
    names = [f"f{number}" for number in range(5)]
    schema = [Field(name=name, dtype=Float64) for name in names]
    pd.DataFrame(
        {"driver_id": [0], "event_timestamp": [pd.Timestamp.now("UTC")], **dict.fromkeys(names, 0.5)}
    ).to_parquet(Path(home) / "none.parquet")
    pushed = PushSource(name="pushed", batch_source=batch)
    store.apply([driver, FeatureView(name="events", entities=[driver], schema=schema, source=pushed)])
    frames = [
        pd.DataFrame(
            {
                "driver_id": range(start * rows, (start + 1) * rows),
                "event_timestamp": pd.Timestamp.now("UTC"),
                **{name: float(start) for name in names},
            }
        )
        for start in range(times)
    ]
    store.push("pushed", frames[0], to=PushMode.ONLINE)

    def work() -> None:
        for frame in frames:
            store.push("pushed", frame, to=PushMode.ONLINE)

    spent, _ = clock.seconds(work)
    return {"seconds": spent, "rows": rows * times}


def apply(tables: int, shape: dict[str, Any], data: str, home: str) -> dict[str, Any]:
    """Register one entity and `tables` feature views in one call. Feast plans inside its apply."""
    made = Shape(**shape)
    store = _store(home, "duckdb")
    objects = [_entity(), *(_view(made, Path(data), "t0", f"view_{number}", MAX_AGE) for number in range(tables))]
    spent, _ = clock.seconds(lambda: store.apply(objects))
    return {"seconds": spent}


def list_entities(home: str) -> dict[str, Any]:
    """The first call of a fresh process: from the import of Feast to the answer."""
    spent, _ = clock.seconds(lambda: _store(home, "duckdb").list_entities())
    return {"seconds": spent}


def _store(home: str, offline: str, online: str = "") -> Any:
    """A store with its configuration in `home`, as `feast serve` wants it. `online` is the address of a Redis."""
    from feast import FeatureStore

    sqlite = {"type": "sqlite", "path": str(Path(home) / "online.db")}
    config = {
        "project": "bench",
        "provider": "local",
        "registry": str(Path(home) / "registry.db"),
        "offline_store": {"type": offline},
        "online_store": {"type": "redis", "connection_string": online} if online else sqlite,
        "entity_key_serialization_version": 3,
    }
    # JSON is YAML, too.
    (Path(home) / "feature_store.yaml").write_text(json.dumps(config))
    return FeatureStore(repo_path=home)


def _entity() -> Any:
    from feast import Entity, ValueType

    return Entity(name=ENTITY, join_keys=[ENTITY], value_type=ValueType.INT64)


def _views(shape: Shape, data: Path, ttl: timedelta, prefix: str = "") -> list[Any]:
    return [_entity(), *(_view(shape, data, table, prefix + table, ttl) for table in shape.table_names)]


def _view(shape: Shape, data: Path, table: str, name: str, ttl: timedelta) -> Any:
    from feast import FeatureView, Field, FileSource
    from feast.types import Float64, Int64

    source = FileSource(
        name=f"{name}_source",
        path=str(table_path(data, shape, table)),
        timestamp_field=EVENT,
        created_timestamp_column=CREATED,
    )
    first, *others = shape.feature_names
    schema = [Field(name=ENTITY, dtype=Int64), Field(name=first, dtype=Int64)]
    schema += [Field(name=other, dtype=Float64) for other in others]
    return FeatureView(name=name, entities=[_entity()], ttl=ttl, schema=schema, source=source)


def _references(shape: Shape, prefix: str = "") -> list[str]:
    return [f"{prefix}{table}:{feature}" for table in shape.table_names for feature in shape.feature_names]
