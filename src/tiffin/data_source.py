"""The sources, under the name that users of Feast import them from."""

from tiffin.definitions.source import BigQuerySource, FileSource, KafkaSource, KinesisSource, SourceType

__all__ = ["BigQuerySource", "FileSource", "KafkaSource", "KinesisSource", "SourceType"]
