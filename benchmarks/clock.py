"""Measuring inside a task: the time of one piece of work or of many short calls, and the peak memory so far."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long one call took, and what it returned."""
    started = time.perf_counter()
    answer = work()
    return time.perf_counter() - started, answer


def calls(work: Callable[[Any], Any], arguments: Iterable[Any], warm_up: int) -> dict[str, float]:
    """Median and 99th percentile of one call, over all calls but the first `warm_up`."""
    spent = []
    for argument in arguments:
        started = time.perf_counter()
        work(argument)
        spent.append(time.perf_counter() - started)
    spent = sorted(spent[warm_up:])
    return {"seconds": statistics.median(spent), "p99": spent[int(len(spent) * 0.99)]}


def peak_mb() -> float:
    """The most memory this process has held, in megabytes (10^6 bytes)."""
    return megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def megabytes(maxrss: int) -> float:
    """``ru_maxrss`` counts kilobytes on Linux and bytes on macOS."""
    return maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
