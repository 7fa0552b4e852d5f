"""The routes that find features: by words, and by reference."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Controller
from litestar.params import QueryParameter

from tiffin.definitions.feature_table import FeatureTable
from tiffin.registry.access import Role
from tiffin.registry.search import FeatureInfo, describe, search
from tiffin.serving.access.rules import Rule
from tiffin.serving.core.definitions import Labels, read_labels
from tiffin.serving.core.page import USUAL, Cursor, Limit, Page, mapped, page
from tiffin.serving.core.routes import Caller, Here, InPath, answers

Words = Annotated[str, QueryParameter(max_length=1000, description="Words, all of which describe what is looked for.")]
Where = Annotated[str | None, QueryParameter(description="One project; all that the caller may read if left out.")]
Entities = Annotated[list[str] | None, QueryParameter(description="Exactly the entities of the table.")]


class Found(msgspec.Struct):
    """One feature, with what its table says of it."""

    ref: str
    project: str
    feature_table: str
    name: str
    value_type: str
    description: str
    labels: dict[str, str]
    entities: list[str]
    owner: str


class Search(Controller):
    """Features by the words that describe them."""

    path = "/"
    tags = ["features"]

    @answers("GET", "/search", Rule(Role.READER, "search", "handler"))
    def find(
        self,
        core: Here,
        caller: Caller,
        text: Words = "",
        project: Where = None,
        limit: Limit = USUAL,
        cursor: Cursor = None,
    ) -> Page[Found]:
        """The features that all words describe, the best first."""
        if project is not None:
            core.gate.require(caller, project, Role.READER, action="search")
        infos = search(core.snapshot(), text, project)
        seen = [each for each in infos if caller.allows(each.project, Role.READER)]
        # The order is that of relevance, so a place in it is a number.
        numbered = page(enumerate(seen), lambda each: each[0], int, limit, cursor)
        return mapped(numbered, lambda each: _found(each[1]))

    @answers("GET", "/projects/{project:str}/features", Rule(Role.READER, "features"))
    def features(
        self,
        core: Here,
        project: InPath,
        entity: Entities = None,
        label: Labels = None,
        limit: Limit = USUAL,
        cursor: Cursor = None,
    ) -> Page[Found]:
        """Features by reference: of tables with exactly these entities, that carry all labels themselves."""
        wanted = read_labels(label).items()
        found = [
            describe(project, table, feature)
            for table in core.snapshot().objects(FeatureTable, project)
            if not entity or set(entity) == set(table.entities)
            for feature in table.features
            if wanted <= feature.labels.items()
        ]
        return mapped(page(sorted(found, key=_reference), _reference, str, limit, cursor), _found)


def _reference(info: FeatureInfo) -> str:
    return str(info.ref)


def _found(info: FeatureInfo) -> Found:
    return Found(
        ref=str(info.ref),
        project=info.project,
        feature_table=info.feature_table,
        name=info.name,
        value_type=info.dtype.name,
        description=info.description,
        labels=info.labels,
        entities=list(info.entities),
        owner=info.owner,
    )
