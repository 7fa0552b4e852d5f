"""Metrics of the services, for Prometheus.

:class:`ServingMetrics` and :class:`CoreMetrics` count in plain Python; nothing is formatted before somebody asks. Where
a service has several workers, each writes what it counted into a folder that they share (:class:`Board`), and whoever
is asked answers for all.
"""

from __future__ import annotations

from tiffin.serving.metrics.base import FOLDER_VARIABLE, Metrics
from tiffin.serving.metrics.core import CoreFacts, CoreMetrics
from tiffin.serving.metrics.online import ServingFacts, ServingMetrics
from tiffin.serving.metrics.plan import PlanCounts

__all__ = [
    "FOLDER_VARIABLE",
    "CoreFacts",
    "CoreMetrics",
    "Metrics",
    "PlanCounts",
    "ServingFacts",
    "ServingMetrics",
]
