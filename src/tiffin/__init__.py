"""Tiffin: a feature store whose training sets and online answers agree.

Names are imported on first use, so that ``import tiffin`` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from tiffin._version import __version__

if TYPE_CHECKING:
    from tiffin import errors
    from tiffin.async_client import AsyncClient
    from tiffin.client import Client
    from tiffin.data_source import BigQuerySource, FileSource, KafkaSource, KinesisSource, SourceType
    from tiffin.definitions.entity import Entity
    from tiffin.definitions.feature import Feature
    from tiffin.definitions.feature_service import FeatureService
    from tiffin.definitions.feature_table import FeatureTable
    from tiffin.refs import FeatureRef
    from tiffin.types import ValueType

_HOME: Final = {
    "AsyncClient": "tiffin.async_client",
    "BigQuerySource": "tiffin.data_source",
    "Client": "tiffin.client",
    "Entity": "tiffin.definitions.entity",
    "Feature": "tiffin.definitions.feature",
    "FeatureRef": "tiffin.refs",
    "FeatureService": "tiffin.definitions.feature_service",
    "FeatureTable": "tiffin.definitions.feature_table",
    "FileSource": "tiffin.data_source",
    "KafkaSource": "tiffin.data_source",
    "KinesisSource": "tiffin.data_source",
    "SourceType": "tiffin.data_source",
    "ValueType": "tiffin.types",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("tiffin.errors")
    if name not in _HOME:
        raise AttributeError(f"module 'tiffin' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "AsyncClient",
    "BigQuerySource",
    "Client",
    "Entity",
    "Feature",
    "FeatureRef",
    "FeatureService",
    "FeatureTable",
    "FileSource",
    "KafkaSource",
    "KinesisSource",
    "SourceType",
    "ValueType",
    "__version__",
    "errors",
]
