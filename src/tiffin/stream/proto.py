"""Protobuf messages: from a format to the reader of its messages."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from tiffin.definitions.format import ProtoFormat
from tiffin.errors import MissingDependency

if TYPE_CHECKING:
    from tiffin.stream.proto_reader import ProtoReader


def open_reader(form: ProtoFormat, columns: Collection[str] | None) -> ProtoReader:
    """The reader of a format's messages; InvalidDefinition where its message type cannot be found."""
    try:
        from tiffin.stream.proto_reader import ProtoReader
        from tiffin.stream.proto_types import message_class
    except ImportError as error:
        if not (error.name or "").startswith("google"):
            raise
        raise MissingDependency("protobuf", extra="kafka", purpose=f"Reading {form.class_path}") from error
    return ProtoReader(message_class(form), columns)
