"""Work in processes of their own, started apart and set off together."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

# A server that has imported the library forks each worker: none of them pays for the imports again.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.registry.test_processes"])


def at_once(work: Callable[..., Any], arguments: list[tuple[Any, ...]], *, seconds: float = 120) -> list[Any]:
    """The results of one function, called in as many processes as there are arguments, at the same time."""
    barrier = _context.Barrier(len(arguments))
    results = _context.Queue()
    processes = [
        _context.Process(target=_run, args=(place, work, given, barrier, results), daemon=True)
        for place, given in enumerate(arguments)
    ]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=seconds) for _ in processes)
    for process in processes:
        process.join(timeout=seconds)
    assert [process.exitcode for process in processes] == [0] * len(processes)
    return [found[place] for place in range(len(arguments))]


def _run(place: int, work: Callable[..., Any], given: tuple[Any, ...], barrier: Any, results: Any) -> None:
    barrier.wait(timeout=60)
    results.put((place, work(*given)))
