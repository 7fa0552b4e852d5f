"""AsyncClient: what a client reads, for programs with an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from tiffin.client import Client

if TYPE_CHECKING:
    from tiffin.config import Config
    from tiffin.definitions.entity import Entity
    from tiffin.definitions.feature import Feature
    from tiffin.definitions.feature_service import FeatureService
    from tiffin.definitions.feature_table import FeatureTable
    from tiffin.online.read import Columns, Rows
    from tiffin.online.remote import AsyncRemoteReader
    from tiffin.online.response import OnlineResponse
    from tiffin.reader import AsyncReader
    from tiffin.refs import FeatureRef
    from tiffin.registry.resolve import Refs
    from tiffin.registry.search import FeatureInfo
    from tiffin.remote.async_http import AsyncConnection

T = TypeVar("T")


class AsyncClient:
    """The reads of :class:`~tiffin.client.Client`, awaited, with the same options, answers and errors.

    Online rows come from the online service where ``serving_url`` names one, else from the store itself. Any number of
    coroutines may read at once, over connections that are kept alive; one that is cancelled disturbs no other. Leave
    an ``async with`` block, or await :meth:`aclose`, to release what is held.

    >>> async with AsyncClient(serving_url="features:6566") as client:
    ...     answer = await client.get_online_features(["drivers:trips"], [{"driver_id": 1001}])
    """

    def __init__(self, options: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self._client = Client(options, **kwargs)
        self._workspace = self._client._workspace  # noqa: SLF001  (one workspace for both)
        self._connection: AsyncConnection | None = None
        self._reader: AsyncReader | AsyncRemoteReader | None = None

    @property
    def config(self) -> Config:
        """The options."""
        return self._client.config

    @property
    def project(self) -> str:
        """The project that calls mean when they name none."""
        return self._client.project

    def set_project(self, project: str | None = None) -> None:
        """Choose the project of later calls; None returns to ``default``."""
        self._client.set_project(project)

    async def get_online_features(
        self, feature_refs: Refs, entity_rows: Rows | Columns, project: str | None = None
    ) -> OnlineResponse:
        """The newest values of keys, with a status each; see the client's method of this name."""
        reader = self._reader
        if reader is None:
            reader = self._reader = self._open_reader()
        return await reader.read(feature_refs, entity_rows, project or self.project)

    async def list_projects(self) -> list[str]:
        """The names of the projects that are not archived."""
        return await self._threaded(self._client.list_projects)

    async def list_entities(self, project: str | None = None, labels: Mapping[str, str] | None = None) -> list[Entity]:
        """The entities that carry all of ``labels``, by name."""
        return await self._threaded(self._client.list_entities, project, labels)

    async def get_entity(self, name: str, project: str | None = None) -> Entity:
        """One entity."""
        return await self._threaded(self._client.get_entity, name, project)

    async def list_feature_tables(
        self, project: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[FeatureTable]:
        """The feature tables that carry all of ``labels``, by name."""
        return await self._threaded(self._client.list_feature_tables, project, labels)

    async def get_feature_table(
        self, name: str, project: str | None = None, revision: int | None = None
    ) -> FeatureTable:
        """One feature table, as it is or as an earlier revision left it."""
        return await self._threaded(self._client.get_feature_table, name, project, revision)

    async def list_feature_services(
        self, project: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[FeatureService]:
        """The feature services that carry all of ``labels``, by name."""
        return await self._threaded(self._client.list_feature_services, project, labels)

    async def get_feature_service(
        self, name: str, project: str | None = None, revision: int | None = None
    ) -> FeatureService:
        """One feature service, as it is or as an earlier revision left it."""
        return await self._threaded(self._client.get_feature_service, name, project, revision)

    async def list_features_by_ref(
        self,
        project: str | None = None,
        entities: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> dict[FeatureRef, Feature]:
        """Features by reference: of tables with exactly these entities, where given, that carry all of ``labels``."""
        return await self._threaded(self._client.list_features_by_ref, project, entities, labels)

    async def search(self, text: str, project: str | None = None) -> list[FeatureInfo]:
        """The features that all words of ``text`` describe, best first: of one project, or of all active ones."""
        return await self._threaded(self._client.search, text, project)

    async def version(self) -> dict[str, Any]:
        """The versions of what this client is made of and speaks to."""
        return await self._threaded(self._client.version)

    async def aclose(self) -> None:
        """Release everything that is held; a later call opens it again."""
        connection, self._connection, self._reader = self._connection, None, None
        if connection is not None:
            await connection.aclose()
        await asyncio.to_thread(self._client.close)
        await asyncio.sleep(0)  # a store ends its connections in the loop that they belong to

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"Async{self._client!r}"

    def _open_reader(self) -> AsyncReader | AsyncRemoteReader:
        if self._workspace.serving is None:
            from tiffin.reader import AsyncReader

            return AsyncReader(self._workspace)
        from tiffin.online.remote import AsyncRemoteReader
        from tiffin.remote.services import async_online_connection

        self._connection = async_online_connection(self.config)
        return AsyncRemoteReader(self._connection)

    @staticmethod
    async def _threaded(method: Callable[..., T], *arguments: Any) -> T:
        """A call that may ask the registry, in a thread."""
        return await asyncio.to_thread(method, *arguments)
