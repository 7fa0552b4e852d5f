"""Attempts: how often and how long a request is tried, whoever sends it."""

from __future__ import annotations

import random
import time
from typing import Final

#: Attempts after the first. With the pauses below a service may be away for a second and more.
MOST_RETRIES: Final = 4
#: Seconds before the first retry; each later one waits about twice as long.
FIRST_PAUSE: Final = 0.1


class Attempts:
    """The time and the retries that are left of one request, ``timeout`` seconds in all."""

    def __init__(self, timeout: float, *, retry: bool) -> None:
        self.timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._left = MOST_RETRIES if retry else 0
        self._pause = FIRST_PAUSE

    @property
    def remaining(self) -> float:
        """Seconds until the request must have ended, never less than a millisecond."""
        return max(self._deadline - time.monotonic(), 0.001)

    def next_pause(self, asked: float | None = None) -> float | None:
        """Seconds to wait before the next attempt, at least ``asked``; None where there is none.

        Half of a pause is random, so that clients which failed together do not come back together.
        """
        if self._left == 0:
            return None
        pause = max(self._pause * random.uniform(0.5, 1.0), asked or 0.0)  # noqa: S311  (spreads retries)
        if time.monotonic() + pause >= self._deadline:
            return None
        self._left -= 1
        self._pause *= 2
        return pause
