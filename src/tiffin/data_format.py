"""The formats, under the name that users of Feast import them from."""

from tiffin.definitions.format import AvroFormat, DeltaFormat, JsonFormat, ParquetFormat, ProtoFormat

__all__ = ["AvroFormat", "DeltaFormat", "JsonFormat", "ParquetFormat", "ProtoFormat"]
