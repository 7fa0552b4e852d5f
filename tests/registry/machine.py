"""Random histories of a registry against a model of plain dictionaries."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tiffin.definitions.entity import Entity
from tiffin.definitions.feature import Feature
from tiffin.definitions.feature_table import FeatureTable
from tiffin.errors import AlreadyExists, BreakingChange, FailedPrecondition, NotFound, ProjectArchived
from tiffin.registry.base import RegistryStore
from tiffin.registry.registry import Registry
from tiffin.types import ValueType

# Most steps meet in one project, so that they have something to change, delete, revive and refuse.
projects = st.sampled_from(["default", "default", "default", "rides", "flights"])
entity_names = st.sampled_from(["a", "b"])
table_names = st.sampled_from(["t", "u"])
texts = st.sampled_from(["", "x", "y"])
features = st.dictionaries(st.sampled_from("fgh"), st.sampled_from(["INT32", "STRING"]), min_size=1)
objects = st.sampled_from([(FeatureTable, "t"), (FeatureTable, "u"), (Entity, "a"), (Entity, "b")])
tables = st.tuples(table_names, st.lists(entity_names, min_size=1, unique=True), features, texts)

#: The state of one object: its revisions as (action, content), the newest last.
History = list[tuple[str, Any]]


class RegistryMachine(RuleBasedStateMachine):
    """Each step is done to the registry and to the model; afterwards both must say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.store = self.open()
        self.registry = Registry(self.store, recheck=0)
        self.model: dict[tuple[str, str, str], History] = {}
        self.archived: dict[str, bool] = {"default": False}

    def open(self) -> RegistryStore:
        """An empty store; a subclass opens it."""
        raise NotImplementedError

    # What the model knows

    def alive(self, project: str, kind: str, name: str) -> Any:
        history = self.model.get((project, kind, name), [])
        return history[-1][1] if history and history[-1][0] != "delete" else None

    def put(self, project: str, kind: str, name: str, content: Any, *, action: str | None = None) -> None:
        history = self.model.setdefault((project, kind, name), [])
        if self.alive(project, kind, name) == content:
            return
        revived = "revive" if history and history[-1][0] == "delete" else "update"
        history.append((action or (revived if history else "create"), deepcopy(content)))

    def breaks(self, project: str, name: str, keys: list[str], columns: dict[str, str]) -> bool:
        before = self.alive(project, "FeatureTable", name)
        if before is None:
            return False
        kept = all(columns.get(column) == dtype for column, dtype in before["features"].items())
        return not kept or sorted(before["entities"]) != sorted(keys)

    # Steps

    @initialize()
    def begin(self) -> None:
        for name in ("a", "b"):
            self.apply_entity("default", name, "", "INT64")
        self.apply_tables("default", [("t", ["a"], {"f": "INT32"}, "")], False)

    @rule(project=projects, name=entity_names, text=texts, dtype=st.sampled_from(["INT64", "INT64", "STRING"]))
    def apply_entity(self, project: str, name: str, text: str, dtype: str) -> None:
        past = self.model.get((project, "Entity", name))
        entity = Entity(name, text, ValueType[dtype])
        if self.archived.get(project):
            self.refused(ProjectArchived, lambda: self.registry.apply(entity, project))
        elif past and past[-1][1]["type"] != dtype:
            self.refused(FailedPrecondition, lambda: self.registry.apply(entity, project, allow_breaking=True))
        else:
            self.registry.apply(entity, project)
            self.archived.setdefault(project, False)
            self.put(project, "Entity", name, {"type": dtype, "text": text})

    @rule(
        project=projects, given=st.lists(tables, min_size=1, max_size=2, unique_by=lambda t: t[0]), allow=st.booleans()
    )
    def apply_tables(self, project: str, given: list[Any], allow: bool) -> None:
        objects = [
            FeatureTable(name, keys, [Feature(column, dtype) for column, dtype in columns.items()], description=text)
            for name, keys, columns, text in given
        ]
        missing = any(self.alive(project, "Entity", key) is None for _, keys, _, _ in given for key in keys)

        def call() -> object:
            return self.registry.apply(objects, project, allow_breaking=allow)

        if self.archived.get(project):
            self.refused(ProjectArchived, call)
        elif missing:
            self.refused(NotFound, call)
        elif not allow and any(self.breaks(project, name, keys, columns) for name, keys, columns, _ in given):
            self.refused(BreakingChange, call)
        else:
            call()
            for name, keys, columns, text in given:
                content = {"entities": sorted(keys), "features": columns, "text": text}
                self.put(project, "FeatureTable", name, content)

    @rule(project=projects, name=table_names, allow=st.booleans())
    def apply_again(self, project: str, name: str, allow: bool) -> None:
        """What the table last was, deleted or not."""
        history = self.model.get((project, "FeatureTable", name))
        if history:
            last = history[-1][1]
            self.apply_tables(project, [(name, last["entities"], last["features"], last["text"])], allow)

    @rule(project=projects, chosen=objects)
    def delete(self, project: str, chosen: tuple[Any, str]) -> None:
        kind, name = chosen
        history = self.model.get((project, kind.__name__, name), [])
        used = kind is Entity and any(
            name in self.alive(project, "FeatureTable", table)["entities"]
            for table in ("t", "u")
            if self.alive(project, "FeatureTable", table)
        )
        if not history:
            self.refused(NotFound, lambda: self.registry.delete(kind, name, project))
        elif history[-1][0] == "delete":
            assert self.registry.delete(kind, name, project).is_empty
        elif self.archived[project]:
            self.refused(ProjectArchived, lambda: self.registry.delete(kind, name, project))
        elif used:
            self.refused(FailedPrecondition, lambda: self.registry.delete(kind, name, project))
        else:
            self.registry.delete(kind, name, project)
            history.append(("delete", history[-1][1]))

    @rule(project=projects, name=table_names, revision=st.integers(1, 4))
    def rollback(self, project: str, name: str, revision: int) -> None:
        history = self.model.get((project, "FeatureTable", name), [])

        def call() -> object:
            return self.registry.rollback(name, revision, project)

        if revision > len(history):
            self.refused(NotFound, call)
            return
        action, content = history[revision - 1]
        if action == "delete":
            self.refused(FailedPrecondition, call)
        elif self.archived[project]:
            self.refused(ProjectArchived, call)
        elif any(self.alive(project, "Entity", key) is None for key in content["entities"]):
            self.refused(NotFound, call)
        else:
            call()
            self.put(project, "FeatureTable", name, content, action="rollback")

    @rule(project=projects)
    def create(self, project: str) -> None:
        if project in self.archived:
            self.refused(AlreadyExists, lambda: self.registry.create_project(project))
        else:
            self.registry.create_project(project)
            self.archived[project] = False

    @rule(project=st.sampled_from(["default", "default", "absent", "flights"]))
    def archive(self, project: str) -> None:
        expected: Any = None
        if project == "default":
            expected = FailedPrecondition
        elif project not in self.archived:
            expected = NotFound
        elif self.archived[project]:
            expected = ProjectArchived
        if expected is not None:
            self.refused(expected, lambda: self.registry.archive_project(project))
        else:
            self.registry.archive_project(project)
            self.archived[project] = True

    def refused(self, error: type[Exception], call: Any) -> None:
        """The call raises just this and changes nothing."""
        version = self.store.version()
        try:
            call()
        except error:
            assert self.store.version() == version
        else:
            raise AssertionError(f"{error.__name__} was expected")

    # What must hold

    @invariant()
    def the_registry_says_what_the_model_says(self) -> None:
        assert self.registry.projects() == sorted(name for name, gone in self.archived.items() if not gone)
        for (project, kind, name), history in self.model.items():
            found = self.registry.history(name, project, kind=kind)
            assert [each.action for each in found] == [action for action, _ in history]
            assert [each.revision for each in found] == list(range(1, len(history) + 1))
            assert [content_of(each.definition()) for each in found] == [content for _, content in history]
            classes: Any = {"Entity": Entity, "FeatureTable": FeatureTable}
            alive = {each.name: each for each in self.registry.objects(classes[kind], project)}
            assert (name in alive) == (self.alive(project, kind, name) is not None)
            if name in alive:
                assert content_of(alive[name]) == self.alive(project, kind, name)

    def teardown(self) -> None:
        self.store.close()


def content_of(definition: Any) -> Any:
    """What the model keeps of a definition."""
    if isinstance(definition, Entity):
        return {"type": definition.value_type.name, "text": definition.description}
    columns = {feature.name: feature.dtype.name for feature in definition.features}
    return {"entities": sorted(definition.entities), "features": columns, "text": definition.description}
