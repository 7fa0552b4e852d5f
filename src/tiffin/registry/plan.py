"""Plan: what an apply would do, or did, as plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from tiffin.registry.diff import Difference, Impact, worst

PlannedAction = Literal["none", "create", "update", "revive", "rollback", "delete"]

_MARKS: Final = {"none": "=", "create": "+", "update": "~", "revive": "^", "rollback": "<", "delete": "-"}


class Change(msgspec.Struct, frozen=True):
    """What happens to one object. ``revision`` is the one that it starts from, 0 for a new object.

    ``services`` names the feature services that the change touches, as ``project/name``.
    """

    kind: str
    name: str
    action: PlannedAction
    impact: Impact
    revision: int = 0
    details: tuple[Difference, ...] = ()
    services: tuple[str, ...] = ()

    def __str__(self) -> str:
        impact = f" ({self.impact})" if self.action not in {"none", "create"} else ""
        lines = [f"{_MARKS[self.action]} {self.kind} {self.name}: {self.action}{impact}"]
        lines += [
            f"    {detail}" + (f"  ({detail.impact})" if detail.impact != "compatible" else "")
            for detail in self.details
        ]
        if self.services:
            lines.append(f"    touches {', '.join(self.services)}")
        return "\n".join(lines)


class Plan(msgspec.Struct, frozen=True):
    """The changes of one call, in the order of the objects given.

    ``creates_project`` says that the project is made on the way. ``version`` is the registry's after an apply, and
    the one that was looked at for a plan.
    """

    project: str
    changes: tuple[Change, ...]
    creates_project: bool = False
    version: int = 0

    @property
    def impact(self) -> Impact:
        """The greatest impact of all changes."""
        return worst(change.impact for change in self.changes)

    @property
    def is_empty(self) -> bool:
        """Whether nothing would change."""
        return all(change.action == "none" for change in self.changes)

    @property
    def services(self) -> tuple[str, ...]:
        """Every feature service that is touched."""
        return tuple(sorted({service for change in self.changes for service in change.services}))

    def telling(self, services: Callable[[str], bool]) -> Plan:
        """The same plan, with those services alone that are told; each is asked for as ``project/name``."""
        changes = (
            msgspec.structs.replace(change, services=tuple(each for each in change.services if services(each)))
            for change in self.changes
        )
        return msgspec.structs.replace(self, changes=tuple(changes))

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain | {"impact": self.impact}

    def __str__(self) -> str:
        head = [f"+ Project {self.project}: create"] if self.creates_project else []
        changed = [str(change) for change in self.changes if change.action != "none"]
        if not changed:
            return f"Nothing to change in project {self.project}: {len(self.changes)} objects are as registered."
        same = len(self.changes) - len(changed)
        tail = [f"= {same} unchanged"] if same else []
        return "\n".join([*head, *changed, *tail])
