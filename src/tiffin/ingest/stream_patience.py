"""Patience: how work waits for what is away, and tells whoever watches it."""

from __future__ import annotations

import time
from typing import Final

from tiffin.control import Control
from tiffin.errors import TiffinError

#: Seconds of the first wait, which doubles up to the longest.
FIRST_S: Final = 0.2
LONGEST_S: Final = 30.0
#: Seconds after which a trouble that stays the same is told again, and between two looks whether to stop.
_AGAIN_S: Final = 300.0
_LOOK_S: Final = 0.1


class Patience:
    """Waits longer with each failure in a row; a success makes it forget them."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._wait = FIRST_S
        self._told = ""
        self._told_at = 0.0

    def after(self, error: TiffinError) -> None:
        """Tell of a failure and wait; JobCancelled where the work should stop meanwhile."""
        words = str(error)
        now = time.monotonic()
        if words != self._told or now - self._told_at > _AGAIN_S:
            self._told, self._told_at = words, now
            self._control.log(f"waiting, nothing is lost: {words}")
        until = now + self._wait
        self._wait = min(LONGEST_S, self._wait * 2)
        while (left := until - time.monotonic()) > 0:
            self._control.check()
            time.sleep(min(_LOOK_S, left))

    def over(self) -> None:
        """What was tried has worked."""
        if self._told:
            self._control.log("going on")
            self._told = ""
        self._wait = FIRST_S
