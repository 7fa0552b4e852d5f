"""An issuer of web tokens for tests: its keys, its answers over HTTP, and tokens as it or a forger signs them."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "tiffin"


class Key:
    """A private key with its name."""

    def __init__(self, kid: str | None, algorithm: str, *, bits: int = 2048) -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private: Any
        if algorithm.startswith(("RS", "PS")):
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        elif algorithm == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
        else:
            self.private = ed25519.Ed25519PrivateKey.generate()

    def jwk(self, **more: Any) -> dict[str, Any]:
        """The public key as an issuer publishes it."""
        kind = jwt.get_algorithm_by_name(self.algorithm)
        found = kind.to_jwk(self.private.public_key(), as_dict=True)
        named = {} if self.kid is None else {"kid": self.kid}
        return {name: value for name, value in found.items() if name != "key_ops"} | named | more

    def sign(self, claims: dict[str, Any], **headers: Any) -> str:
        named = {} if self.kid is None else {"kid": self.kid}
        return jwt.encode(claims, self.private, algorithm=self.algorithm, headers=named | headers)


class Issuer:
    """Answers discovery and keys on a port of the loopback; ``fails`` makes it answer 500."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.fails = False
        self.asked = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += self.path == "/keys"
                body = json.dumps(issuer.answer(self.path)).encode()
                self.send_response(500 if issuer.fails else 200)
                self.send_header("content-length", str(len(body)))
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing is told."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, path: str) -> object:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        return {"keys": self.keys}

    def claims(self, **more: Any) -> dict[str, Any]:
        """What a good token says; None leaves a claim out."""
        now = int(time.time())
        good = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ann",
            "iat": now,
            "exp": now + 600,
            "tiffin_roles": {"rides": "writer"},
        }
        return {name: value for name, value in (good | more).items() if value is not None}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def unsigned(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """A token with any header and any signature."""
    return ".".join(_encoded(part) for part in (json.dumps(header).encode(), json.dumps(claims).encode(), signature))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
