"""The sockets that a service listens on, and how they are given up without losing a connection."""

from __future__ import annotations

import asyncio
import ctypes
import select
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final

from tiffin.errors import InvalidConfig

#: Connections that may wait to be accepted.
BACKLOG: Final = 2048
#: Seconds for which a handshake that began before the doors were shut may still end.
HANDSHAKES: Final = 0.02
#: Linux' number of SO_ATTACH_FILTER, which the socket module does not name.
_ATTACH_FILTER: Final = 26
#: A packet filter: drop what has the SYN flag in byte 13 of its TCP header, let all else through.
_NO_SYN: Final = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


def bind(host: str, port: int, count: int) -> list[socket.socket]:
    """``count`` listening sockets of one address, among which the kernel spreads connections; port 0 takes a free one.

    Each keeps the connections that wait on it as long as any process has it open, so that a worker that is restarted
    finds those of the one before. InvalidConfig where the address cannot be had.
    """
    # Alone at first: sockets that share a port would join those of another service instead of being refused.
    first = _bound(host, port, shared=False)
    if count == 1:
        first.listen(BACKLOG)
        return [first]
    taken = first.getsockname()[1]
    first.close()
    sockets = [_bound(host, taken, shared=True) for _ in range(count)]
    for each in sockets:
        each.listen(BACKLOG)
    return sockets


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind(address)
        except OSError:
            made.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        raise InvalidConfig(
            f"The service cannot listen on {host}:{port}: {error}.",
            field="port",
            hint="Choose another port, or 0 for any that is free.",
        ) from error
    made.setblocking(False)
    return made


def url(sock: socket.socket, *, tls: bool) -> str:
    """The address of a listening socket."""
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"


async def shut(sockets: Sequence[socket.socket]) -> None:
    """Let no new connection begin, and wait until the running loop has accepted all that began.

    On Linux a packet filter turns the first packets of new connections away, which their senders take for lost; when
    they try again nobody listens. Elsewhere a connection that arrives while the socket is closed may be reset.
    """
    for each in sockets:
        _refuse_new(each)
    await asyncio.sleep(HANDSHAKES)
    while select.select(sockets, (), (), 0)[0]:
        await asyncio.sleep(HANDSHAKES / 4)


def _refuse_new(sock: socket.socket) -> None:
    if sys.platform != "linux":
        return
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _NO_SYN))
    program = struct.pack("HL", len(_NO_SYN), ctypes.addressof(code))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, program)
    except OSError:  # a sandbox without packet filters: as elsewhere
        return
