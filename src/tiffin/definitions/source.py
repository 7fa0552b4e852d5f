"""Sources: where the rows of a feature table come from.

``event_timestamp_column``, ``created_timestamp_column`` and ``date_partition_column`` are names of the source and
are never mapped. ``field_mapping`` is ``{name in tiffin: column or SQL scalar expression in the source}``
(semantics, section 1).
"""

from __future__ import annotations

import enum
import re
from typing import Any, Final

from tiffin.definitions import base
from tiffin.definitions.expression import unsteady
from tiffin.definitions.format import AnyFileFormat, AnyStreamFormat, FileFormat, ParquetFormat, StreamFormat
from tiffin.errors import InvalidDefinition

_TABLE_REF: Final = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9_]+\.[A-Za-z0-9_]+")


class SourceType(enum.Enum):
    """The kinds of sources. The numbers are those of Feast's wire format."""

    UNKNOWN = 0
    BATCH_FILE = 1
    BATCH_BIGQUERY = 2
    STREAM_KAFKA = 3
    STREAM_KINESIS = 4


class Source(base.Value, tag_field="type"):
    """The root of sources."""

    def _coerce(self, name: str, value: Any) -> Any:
        if name == "field_mapping":
            return base.mapping(value, field=name)
        if name in {"file_format", "message_format", "record_format"}:
            root = FileFormat if name == "file_format" else StreamFormat
            if not isinstance(value, root):
                raise InvalidDefinition(
                    f"{name} must be a {root.__name__}, got {value!r}.",
                    field=name,
                    hint=f"The formats are: {', '.join(c.__name__ for c in root.__subclasses__())}.",
                )
            return value
        return base.text(value, field=name)

    def check(self) -> None:
        """Raise InvalidDefinition where a rule is broken."""
        self.recoerce()
        # What has a default. An empty one of the others would be left out of the stored form, which then lacks it.
        optional = self.__struct_fields__[-len(self.__struct_defaults__) :]
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, FileFormat | StreamFormat):
                value.check()
            elif name not in optional and not value:
                raise InvalidDefinition(
                    f"{type(self).__name__} {name} must not be empty.",
                    field=name,
                    hint="Name the one that the source has.",
                )
        for alias, column in getattr(self, "field_mapping", {}).items():
            if not alias or not column.strip():
                raise InvalidDefinition(
                    f"{type(self).__name__} field_mapping has an empty name or column: {alias!r}: {column!r}.",
                    field="field_mapping",
                )
            fault = unsteady(column)
            if fault:
                raise InvalidDefinition(
                    f"{type(self).__name__} maps {alias!r} to {column!r}, but {fault}.",
                    field="field_mapping",
                    hint="Compute it from the columns of the same row; put a column's name in double quotes.",
                )


class FileSource(Source, tag="BATCH_FILE"):
    """Files on a disk or bucket. ``file_url`` is a file, a folder, a hive-partitioned folder or a glob."""

    event_timestamp_column: str
    file_format: AnyFileFormat
    file_url: str
    created_timestamp_column: str = ""
    field_mapping: dict[str, str] = {}
    date_partition_column: str = ""


class BigQuerySource(Source, tag="BATCH_BIGQUERY"):
    """A table of BigQuery, ``project:dataset.table``."""

    event_timestamp_column: str
    table_ref: str
    created_timestamp_column: str = ""
    field_mapping: dict[str, str] = {}
    date_partition_column: str = ""

    def check(self) -> None:
        """As the base, and the form of the table reference."""
        super().check()
        if not _TABLE_REF.fullmatch(self.table_ref):
            raise InvalidDefinition(
                f"BigQuerySource table_ref {self.table_ref!r} must be in the form project:dataset.table.",
                field="table_ref",
            )


class KafkaSource(Source, tag="STREAM_KAFKA"):
    """A topic of a Kafka broker."""

    event_timestamp_column: str
    bootstrap_servers: str
    message_format: AnyStreamFormat
    topic: str
    created_timestamp_column: str = ""
    field_mapping: dict[str, str] = {}
    date_partition_column: str = ""


class KinesisSource(Source, tag="STREAM_KINESIS"):
    """A stream of Amazon Kinesis: registered and validated, not yet run."""

    event_timestamp_column: str
    created_timestamp_column: str
    record_format: AnyStreamFormat
    region: str
    stream_name: str
    field_mapping: dict[str, str] = {}
    date_partition_column: str = ""


AnyBatchSource = FileSource | BigQuerySource
AnyStreamSource = KafkaSource | KinesisSource

__all__ = [
    "AnyBatchSource",
    "AnyStreamSource",
    "BigQuerySource",
    "FileSource",
    "KafkaSource",
    "KinesisSource",
    "ParquetFormat",
    "Source",
    "SourceType",
]
