"""Names and references (semantics, section 1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tiffin.errors import InvalidDefinition, InvalidReference

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PROJECT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

#: The project that always exists.
DEFAULT_PROJECT: Final = "default"

#: Letters of a name at most: what every database holds of one, and every disk as the name of a folder.
LONGEST_NAME: Final = 255

#: Names that no entity or feature of a table may have; the last two are columns that Tiffin itself writes.
RESERVED: Final = frozenset({"event_timestamp", "created_timestamp", "_ingested_at", "_row"})
#: Names that are allowed with a warning, since other systems reserve them.
DISCOURAGED: Final = frozenset({"datetime", "ingestion_id", "job_id"})


def check_name(name: object, *, kind: str) -> str:
    """The name itself, or an error that says which rule it breaks. ``kind`` is the word for what it names."""
    if not isinstance(name, str) or not name:
        raise InvalidDefinition(f"{kind} name must be a text that is not empty, got {name!r}.", field="name")
    if not NAME.fullmatch(name):
        raise InvalidDefinition(
            f"invalid value for {kind} name, {name!r}.",
            field="name",
            hint="Use letters, digits and underscores, and do not begin with a digit.",
        )
    return _within(name, f"{kind} name", "name")


def check_project(name: object) -> str:
    """As :func:`check_name`, for a project, where dashes are allowed after the first character."""
    if not isinstance(name, str) or not PROJECT_NAME.fullmatch(name):
        raise InvalidDefinition(
            f"invalid value for project name, {name!r}.",
            field="project",
            hint="Use letters, digits, underscores and dashes, and begin with a letter or an underscore.",
        )
    return _within(name, "project name", "project")


def _within(name: str, what: str, field: str) -> str:
    if len(name) > LONGEST_NAME:
        raise InvalidDefinition(
            f"The {what} {name[:24] + '...'!r} has {len(name)} letters.",
            field=field,
            hint=f"Use at most {LONGEST_NAME}.",
        )
    return name


@dataclass(frozen=True, slots=True, order=True)
class FeatureRef:
    """``table:feature``, or ``project/table:feature`` for a table of another project."""

    name: str
    feature_table: str
    project: str | None = None

    @classmethod
    def from_str(cls, text: str) -> FeatureRef:
        """Read a reference.

        >>> FeatureRef.from_str("driver_statistics:acc_rate").feature_table
        'driver_statistics'
        """
        if not isinstance(text, str):
            raise _unreadable(text)
        project, slash, rest = text.strip().rpartition("/")
        table, colon, name = rest.partition(":")
        well_formed = colon and NAME.fullmatch(table) and NAME.fullmatch(name)
        if not well_formed or (slash and not PROJECT_NAME.fullmatch(project)):
            raise _unreadable(text)
        return cls(name, table, project if slash else None)

    @property
    def column(self) -> str:
        """The name of the feature's column in a training set."""
        return f"{self.feature_table}__{self.name}"

    def __str__(self) -> str:
        ref = f"{self.feature_table}:{self.name}"
        return f"{self.project}/{ref}" if self.project else ref


def _unreadable(text: object) -> InvalidReference:
    return InvalidReference(
        f"{text!r} is not a feature reference.",
        field="features",
        hint="Write 'table:feature', or 'project/table:feature' for a table of another project.",
    )
