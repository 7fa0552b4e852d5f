"""Datagrams: lines of StatsD with tags of DogStatsD, packed and sent without waiting for anybody."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

#: Bytes of a datagram that no common network cuts in two.
PACKET_BYTES: Final = 1_432
#: Characters of one value; the rest is cut off, so that a line always fits a datagram.
VALUE_LENGTH: Final = 120
#: How many datagrams are sent without a pause, and its length in seconds: servers read from a buffer that may run full.
BURST: Final = 32
PAUSE: Final = 0.005

_SPACE: Final = re.compile(r"\s+")
#: All that could end a value, a tag or a line, or that servers do not agree on.
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.\-/]")

_log = logging.getLogger(__name__)


def line(name: str, value: int | float, kind: str, tags: Mapping[str, str]) -> str:
    """One number: ``name:value|kind|#tag:value,tag:value``, in ASCII; floats have two digits after the point."""
    number = f"{value:.2f}" if isinstance(value, float) else str(value)
    told = ",".join(f"{tag}:{safe(text)}" for tag, text in tags.items())
    return f"{name}:{number}|{kind}|#{told}"


def safe(text: str) -> str:
    """A text as the value of a tag: white space becomes a dash, and what is not ASCII or has a meaning a line.

    >>> safe("between_acc rate %_0|1")
    'between_acc-rate-__0_1'
    """
    return _UNSAFE.sub("_", _SPACE.sub("-", text))[:VALUE_LENGTH]


def packets(lines: Iterable[str], *, at_most: int = PACKET_BYTES) -> Iterator[bytes]:
    """Lines joined into as few datagrams as hold them in order; one that fits in none is left out."""
    waiting: list[bytes] = []
    size = 0
    for text in lines:
        encoded = text.encode("ascii", "replace")
        if len(encoded) > at_most:
            continue
        if waiting and size + len(encoded) > at_most:
            yield b"\n".join(waiting)
            waiting, size = [], 0
        waiting.append(encoded)
        size += len(encoded) + 1
    if waiting:
        yield b"\n".join(waiting)


class Datagrams:
    """The way to one server. Used from one thread, which looks its name up: that may take long."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._failing = False

    def send(self, lines: Iterable[str]) -> None:
        """Send lines; what cannot be sent is lost, and the first time that happens it is logged."""
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind, protocol) as channel:
                channel.setblocking(False)
                for number, packet in enumerate(packets(lines), 1):
                    channel.sendto(packet, address)
                    if number % BURST == 0:
                        time.sleep(PAUSE)
        except (OSError, UnicodeError, OverflowError) as error:
            if not self._failing:
                _log.warning("metrics do not reach StatsD at %s:%s: %s", self._host, self._port, error)
            self._failing = True
        else:
            self._failing = False
