"""Metrics of the services, for Prometheus.

:class:`ServingMetrics` and :class:`CoreMetrics` count in plain Python; nothing is formatted before somebody asks. Where
a service has several workers, each writes what it counted into a folder that they share (:class:`Board`), and whoever
is asked answers for all.

Names are imported on first use: the registry service does not load what the online service reads rows with.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tiffin.serving.metrics.base import FOLDER_VARIABLE, Metrics
    from tiffin.serving.metrics.core import CoreFacts, CoreMetrics
    from tiffin.serving.metrics.online import ServingFacts, ServingMetrics
    from tiffin.serving.metrics.plan import PlanCounts

_HOME: Final = {
    "FOLDER_VARIABLE": "base",
    "CoreFacts": "core",
    "CoreMetrics": "core",
    "Metrics": "base",
    "PlanCounts": "plan",
    "ServingFacts": "online",
    "ServingMetrics": "online",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


__all__ = [
    "FOLDER_VARIABLE",
    "CoreFacts",
    "CoreMetrics",
    "Metrics",
    "PlanCounts",
    "ServingFacts",
    "ServingMetrics",
]
