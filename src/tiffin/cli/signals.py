"""Signals: how a command that goes on until it is told to end is told."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that is set at the first SIGTERM or Ctrl-C of the block; a second Ctrl-C interrupts what goes on."""
    event = threading.Event()
    with _handling(event.set):
        yield event


@contextmanager
def _handling(told: Callable[[], None]) -> Iterator[None]:
    def handle(number: int, _: Any) -> None:
        told()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in _ENDING}
    for number in _ENDING:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
