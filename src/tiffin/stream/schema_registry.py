"""A schema registry: the schemas of messages' writers, by number, over HTTP.

Several addresses may be given, separated by commas; they are asked in turn until one answers. What a number means never
changes, so whoever asks may keep the answer.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tiffin.errors import NotFound, PermissionDenied, TiffinError, Unauthenticated, Unavailable
from tiffin.remote.http import Connection

_TIMEOUT_S: Final = 5.0
_PORT: Final = 8081
_ACCEPT: Final = "application/vnd.schemaregistry.v1+json, application/json"


class SchemaRegistry:
    """Asks registries for schemas of Avro. ``auth`` is ``user:password``; ``certificate`` is a file of PEM."""

    def __init__(self, addresses: str, auth: str = "", certificate: str = "") -> None:
        self._connections = [
            Connection(
                address,
                certificate=certificate,
                timeout=_TIMEOUT_S,
                what="schema registry",
                option="schema_registry_url",
                default_port=_PORT,
            )
            for address in addresses.split(",")
            if address.strip()
        ]
        self._headers = {"authorization": f"Basic {b64encode(auth.encode()).decode()}"} if auth else {}

    @classmethod
    def of(cls, options: Mapping[str, str]) -> SchemaRegistry | None:
        """The registry that options name; None where they name none."""
        addresses = options.get("schema_registry_url", "")
        if not addresses.strip(" ,"):
            return None
        return cls(
            addresses, options.get("schema_registry_auth", ""), options.get("schema_registry_server_ssl_cert", "")
        )

    def schema(self, identity: int) -> str:
        """The JSON of a schema.

        NotFound where there is none of this number or it is not of Avro, Unauthenticated and PermissionDenied where
        the registry refuses, Unavailable where none answers.
        """
        trouble: TiffinError | None = None
        for connection in self._connections:
            try:
                return self._ask(connection, identity)
            except Unavailable as error:
                trouble = error
        assert trouble is not None, "there is an address"
        raise trouble

    def _ask(self, connection: Connection, identity: int) -> str:
        answer = connection.exchange("GET", f"/schemas/ids/{identity}", accept=_ACCEPT, headers=self._headers)
        where = f"The schema registry at {connection.address}"
        match answer.status:
            case 200:
                return _schema_in(answer.content, where, identity)
            case 404:
                raise NotFound(f"{where} has no schema of the number {identity}.")
            case 401:
                raise Unauthenticated(
                    f"{where} does not know the caller.", field="schema_registry_auth", hint="Set it to user:password."
                )
            case 403:
                raise PermissionDenied(f"{where} does not let the caller read schemas.", field="schema_registry_auth")
            case status:
                raise Unavailable(f"{where} answered with status {status}.", field="schema_registry_url")


def _schema_in(content: bytes, where: str, identity: int) -> str:
    try:
        found = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError:
        raise Unavailable(f"{where} did not answer with a JSON object.", field="schema_registry_url") from None
    schema = found.get("schema")
    if found.get("schemaType", "AVRO") != "AVRO" or not isinstance(schema, str):
        raise NotFound(f"{where} has the schema {identity}, which is not of Avro.")
    if found.get("references"):
        raise NotFound(f"{where} has the schema {identity}, which refers to others; such schemas are not read.")
    return schema
