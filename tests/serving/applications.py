"""Small ASGI applications for tests of what runs them."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from tiffin.config import Config
from tiffin.errors import InvalidConfig


def small(config: Config) -> Any:
    """Answers with what came: ``/slow`` after a moment, ``/pid`` with its process, ``/die`` not at all,
    ``/early`` before anything came."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        body = b""
        more = True
        while more and scope["path"] != "/early":
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        if scope["path"] == "/slow":
            await asyncio.sleep(0.3)
        if scope["path"] == "/die":
            os._exit(9)
        if scope["path"] == "/pid":
            body = str(os.getpid()).encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        if scope["path"] == "/stream":
            headers = []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/stream":
            for part in (b"a", b"b"):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": body})

    return application


def broken(config: Config) -> Any:
    """Cannot be made."""
    raise InvalidConfig("This application cannot be made.", field="test")


async def lifespan(receive: Any, send: Any) -> None:
    for what in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{what}.complete"})
