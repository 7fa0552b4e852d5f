"""Features: what a model's keys are looked up in, and whether that still fits the model.

A model outlives definitions: its features may be deleted, or have got other keys or types. Then it cannot be asked with
keys, which is no mistake of the caller: the server is not ready, says why, and is again when the definitions fit again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from tiffin.config import Config
from tiffin.errors import (
    FailedPrecondition,
    InvalidArgument,
    InvalidReference,
    MissingDependency,
    NotFound,
    PermissionDenied,
    TiffinError,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from tiffin.online.read import NOW_FIELD, Columns, OnlineColumns
from tiffin.online.remote import AsyncRemoteReader
from tiffin.pipeline.card import ModelCard
from tiffin.pipeline.matrix import NUMERIC
from tiffin.reader import AsyncReader
from tiffin.remote.async_http import AsyncConnection
from tiffin.remote.services import async_online_connection
from tiffin.serving.online.limits import OutOfTime
from tiffin.types import ValueType
from tiffin.workspace import Workspace

#: A key of each type, to see whether rows can be read.
_PROBES: Final[Mapping[ValueType, Any]] = {
    ValueType.STRING: "",
    ValueType.BYTES: b"",
    ValueType.BOOL: False,
    ValueType.DOUBLE: 0.0,
    ValueType.FLOAT: 0.0,
}
#: Seconds after which a caller may ask again whether the definitions fit.
_RETRY_S: Final = 10.0


class NotReady(Unavailable):
    """The definitions, or the rights of the server, do not allow what the model needs."""

    code = "model_not_ready"


class Features:
    """The features of one model, by key. ``seconds`` bounds a read."""

    def __init__(self, config: Config, workspace: Workspace, card: ModelCard, seconds: float) -> None:
        self._config = config
        self._workspace = workspace
        self._card = card
        self._seconds = seconds
        self._types = {name: ValueType[kind] for name, kind in card.entities.items()}
        self._own = {*card.entities, NOW_FIELD, "entities", "entity_rows"}
        self._fitting: tuple[ValueType, ...] = ()
        self._reader: AsyncReader | AsyncRemoteReader | None = None
        self._connection: AsyncConnection | None = None

    async def read(self, keys: Columns) -> OnlineColumns:
        """The features of keys, given as columns.

        InvalidArgument for a key that is none; NotReady where definitions do not fit the model; Unavailable where
        something is away; OutOfTime.
        """
        try:
            async with asyncio.timeout(self._seconds):
                found = await self._asked(keys)
        except TimeoutError as error:
            raise OutOfTime(f"The features were not there within {self._seconds:g} s.", hint="Try again.") from error
        if found.dtypes != self._fitting or found.entity_types != self._types:
            self._check_fit(found)
        return found

    async def check(self) -> None:
        """Raise what a prediction would: definitions and store must be there, and the features in them."""
        await self.read({name: [_PROBES.get(dtype, 0)] for name, dtype in self._types.items()})

    async def aclose(self) -> None:
        """Close connections."""
        if self._connection is not None:
            await self._connection.aclose()

    async def _asked(self, keys: Columns) -> OnlineColumns:
        try:
            if self._reader is None:
                self._reader = self._opened()
            return (await self._reader.read(self._card.features, keys, self._card.project)).columns
        except (Unauthenticated, PermissionDenied) as error:
            raise NotReady(
                f"The model server itself is not let in where features are read: {error.message}",
                hint="Give it a token with the role reader.",
                retry_after=_RETRY_S,
            ) from error
        except (InvalidReference, NotFound, FailedPrecondition, MissingDependency, Unsupported) as error:
            raise self._unfit(error) from error
        except InvalidArgument as error:
            if error.field in self._own:
                raise
            raise self._unfit(error) from error

    def _opened(self) -> AsyncReader | AsyncRemoteReader:
        """Rows come from the online service where one is named, else from the store itself."""
        if self._workspace.serving is None:
            return AsyncReader(self._workspace)
        self._connection = async_online_connection(self._config)
        return AsyncRemoteReader(self._connection)

    def _unfit(self, error: TiffinError) -> NotReady:
        return NotReady(
            f"What the model {self._card.name!r} reads is not defined as it was: {error.message}",
            field=error.field,
            hint=error.hint or "Define it so again, or train the model anew.",
            retry_after=_RETRY_S,
        )

    def _check_fit(self, found: OnlineColumns) -> None:
        """Raise NotReady where keys or features have other types than the model takes."""
        if dict(found.entity_types) != self._types:
            were, are = _shown(self._types), _shown(found.entity_types)
            raise NotReady(
                f"The model {self._card.name!r} was trained with the keys {were}, and its features now have {are}.",
                field="entities",
                hint="Define them so again, or train the model anew.",
                retry_after=_RETRY_S,
            )
        for name, dtype in zip(found.names, found.dtypes, strict=True):
            if dtype not in NUMERIC:
                raise NotReady(
                    f"The feature {name!r} is {dtype.name} now: the model {self._card.name!r} takes numbers.",
                    field=name,
                    hint="Define it so again, or train the model anew.",
                    retry_after=_RETRY_S,
                )
        self._fitting = found.dtypes


def _shown(types: Mapping[str, ValueType]) -> str:
    return ", ".join(f"{name} ({dtype.name})" for name, dtype in sorted(types.items()))
