"""Definitions of every shape, for generated tests."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st

from tiffin.data_format import AvroFormat, DeltaFormat, JsonFormat, ParquetFormat, ProtoFormat
from tiffin.data_source import BigQuerySource, FileSource, KafkaSource, KinesisSource
from tiffin.definitions.base import Meta
from tiffin.definitions.entity import Entity
from tiffin.definitions.expectation import Between, InSet, Matches, NotNull, UniqueKeyAndTime
from tiffin.definitions.feature import Feature
from tiffin.definitions.feature_service import FeatureService
from tiffin.definitions.feature_table import FeatureTable
from tiffin.refs import DISCOURAGED, RESERVED
from tiffin.types import ValueType

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True).filter(lambda n: n not in RESERVED | DISCOURAGED)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
filled = texts.filter(str.strip)
labels = st.dictionaries(filled, texts, max_size=3)
types = st.sampled_from([each for each in ValueType if each is not ValueType.UNKNOWN])
keys = st.sampled_from([ValueType.STRING, ValueType.INT64, ValueType.INT32, ValueType.BYTES, ValueType.BOOL])
mappings = st.dictionaries(filled, filled, max_size=3)
spans = st.timedeltas(timedelta(0), timedelta(days=10_000_000))
metas = st.none() | st.builds(
    Meta,
    revision=st.integers(0, 2**40),
    created=st.integers(0, 2**52),
    updated=st.integers(0, 2**52),
    hash=st.text("0123456789abcdef", max_size=32),
)
schemas = st.just('{"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}]}')

file_sources = st.builds(
    FileSource,
    filled,
    st.builds(ParquetFormat) | st.builds(DeltaFormat, st.none() | st.integers(0, 9)),
    filled,
    created_timestamp_column=texts,
    field_mapping=mappings,
    date_partition_column=texts,
)
bigquery_sources = st.builds(
    BigQuerySource, filled, st.just("my-project:set.table"), created_timestamp_column=texts, field_mapping=mappings
)
messages = st.builds(AvroFormat, schemas) | st.just(ProtoFormat("a.b.C")) | st.builds(JsonFormat)
kafka_sources = st.builds(KafkaSource, filled, filled, messages, filled, field_mapping=mappings)
kinesis_sources = st.builds(KinesisSource, filled, filled, messages, filled, filled)

numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)


def expectations(columns: list[str]) -> st.SearchStrategy[list[object]]:
    column = st.sampled_from(columns)
    bounds = st.tuples(numbers, numbers).map(sorted)
    one = st.one_of(
        st.builds(NotNull, column),
        st.tuples(column, bounds).map(lambda drawn: Between(drawn[0], *drawn[1])),
        st.builds(Between, column, maximum=numbers),
        st.builds(InSet, column, st.lists(st.booleans() | numbers | texts, min_size=1, max_size=4)),
        st.builds(Matches, column, st.sampled_from(["^a", "[0-9]+", "é|\n"])),
        st.builds(UniqueKeyAndTime),
    )
    return st.lists(one, max_size=3)


entities = st.builds(Entity, names, texts, keys, labels, metas)
features = st.builds(Feature, names, types, labels, texts)
refs = st.builds(lambda p, t, f: f"{p}/{t}:{f}" if p else f"{t}:{f}", st.none() | names, names, names)
services = st.builds(
    FeatureService, names, st.lists(refs, min_size=1, max_size=4, unique=True), labels, texts, texts, metas
)


@st.composite
def feature_tables(draw: st.DrawFn) -> FeatureTable:
    columns = draw(st.lists(names, min_size=2, max_size=8, unique=True))
    keys_count = draw(st.integers(1, len(columns) - 1))
    return FeatureTable(
        draw(names),
        columns[:keys_count],
        [Feature(name, draw(types), draw(labels), draw(texts)) for name in columns[keys_count:]],
        batch_source=draw(st.none() | file_sources | bigquery_sources),
        stream_source=draw(st.none() | kafka_sources | kinesis_sources),
        max_age=draw(st.none() | spans),
        labels=draw(labels),
        description=draw(texts),
        owner=draw(texts),
        to_offline=draw(st.booleans()),
        expectations=draw(expectations(columns)),
        deleted_column=draw(texts),
        meta=draw(metas),
    )


definitions = st.one_of(entities, services, feature_tables())
