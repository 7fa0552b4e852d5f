"""Formats: how rows are laid out in files and in the messages of streams."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from tiffin.definitions import base
from tiffin.errors import InvalidDefinition

_CLASS_PATH: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class FileFormat(base.Value, tag_field="type"):
    """The root of file formats."""

    def check(self) -> None:
        """Raise InvalidDefinition where a rule is broken."""


class ParquetFormat(FileFormat, tag="parquet"):
    """Parquet: one file, a folder, hive partitions or a glob. A folder with a Delta log is read through it."""


class DeltaFormat(FileFormat, tag="delta"):
    """A Delta table; ``version`` pins one version of it for reading."""

    version: int | None = None

    def _coerce(self, name: str, value: Any) -> Any:
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise InvalidDefinition(f"DeltaFormat version must be a whole number, got {value!r}.", field=name)
        return value

    def check(self) -> None:
        """Raise InvalidDefinition where a rule is broken."""
        self.recoerce()
        if self.version is not None and self.version < 0:
            raise InvalidDefinition(f"DeltaFormat version must not be negative, got {self.version}.", field="version")


class StreamFormat(base.Value, tag_field="type"):
    """The root of message formats."""

    def _coerce(self, name: str, value: Any) -> Any:
        return base.text(value, field=name)

    def check(self) -> None:
        """Raise InvalidDefinition where a rule is broken."""


class AvroFormat(StreamFormat, tag="avro"):
    """Avro messages with the schema declared here, as JSON."""

    schema_json: str

    def check(self) -> None:
        """Raise InvalidDefinition where the schema is not a JSON record schema."""
        try:
            schema: Any = json.loads(self.schema_json)
        except json.JSONDecodeError as error:
            raise InvalidDefinition(f"AvroFormat schema is not JSON: {error}.", field="schema_json") from None
        if not isinstance(schema, dict) or schema.get("type") != "record" or not schema.get("fields"):
            raise InvalidDefinition("AvroFormat schema must be a record with fields.", field="schema_json")


class ProtoFormat(StreamFormat, tag="proto"):
    """Protobuf messages of the class at ``class_path``.

    With a ``descriptor_set`` it is the full name of a message in that set, and no code of anybody is imported. The set
    is what ``protoc --include_imports --descriptor_set_out`` writes: a path or URI of the file, or its bytes in base64.
    """

    class_path: str
    descriptor_set: str = ""

    def check(self) -> None:
        """Raise InvalidDefinition where the path is not dotted names."""
        if not _CLASS_PATH.fullmatch(self.class_path):
            raise InvalidDefinition(
                f"ProtoFormat class path {self.class_path!r} must be dotted names.", field="class_path"
            )


class JsonFormat(StreamFormat, tag="json"):
    """JSON objects, one a message."""


AnyFileFormat = ParquetFormat | DeltaFormat
AnyStreamFormat = AvroFormat | ProtoFormat | JsonFormat
