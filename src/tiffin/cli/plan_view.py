"""A plan as a person reads it: like a diff, the harmless first, the grave last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from rich.console import RenderableType
from rich.text import Text

from tiffin.cli.view import STYLES, count, mark

if TYPE_CHECKING:
    from tiffin.registry.diff import Difference
    from tiffin.registry.plan import Change, Plan

#: Sign and colour of each action.
_ACTIONS: Final = {
    "create": ("+", "green"),
    "revive": ("+", "green"),
    "update": ("~", "yellow"),
    "rollback": ("~", "yellow"),
    "delete": ("-", "red"),
}
#: Classes of change, from the least to the gravest; what is new has no impact on anybody yet.
_CLASSES: Final = {"none": "New", "compatible": "Compatible", "breaking": "Breaking", "destructive": "Destructive"}


def plan_view(plan: Plan, *, applied: bool) -> list[RenderableType]:
    """The changes by class, each with what it touches, and a line that sums them up."""
    changed = [change for change in plan.changes if change.action != "none"]
    same = len(plan.changes) - len(changed)
    if not changed:
        return [
            Text.assemble(("= ", "dim"), f"Nothing to change in project {plan.project}: all {same} are registered.")
        ]
    parts: list[RenderableType] = []
    if plan.creates_project:
        parts += [Text.assemble(("+ ", "green"), ("Project ", "dim"), (plan.project, "bold")), ""]
    for impact, title in _CLASSES.items():
        members = [each for each in changed if each.impact == impact]
        if members:
            parts += [mark(impact, title), *(line for change in members for line in _change(change)), ""]
    parts.append(_sum(changed, same, applied=applied))
    if not applied and plan.impact in {"breaking", "destructive"}:
        parts.append(Text.assemble(("! ", STYLES[plan.impact]), "To apply this, add --allow-breaking."))
    return parts


def difference_line(detail: Difference) -> Text:
    """One difference with its sign, and its class where that is not the harmless one."""
    # A reference in the list of a service is its own value.
    field = "feature " if detail.field == f"features.{detail.before or detail.after}" else f"{detail.field}: "
    if not detail.before:
        line = Text.assemble(("+ ", "green"), field, (detail.after, "green"))
    elif not detail.after:
        line = Text.assemble(("- ", "red"), field, (detail.before, "red"))
    else:
        line = Text.assemble(
            ("~ ", "yellow"), f"{detail.field}: ", (detail.before, "red"), " → ", (detail.after, "green")
        )
    return line if detail.impact in {"none", "compatible"} else line.append(f"  {detail.impact}", STYLES[detail.impact])


def _change(change: Change) -> Iterator[Text]:
    sign, style = _ACTIONS[change.action]
    note = "" if change.action in {"create", "update", "delete"} else f"  {change.action}"
    yield Text.assemble((f"  {sign} ", style), (f"{change.kind} ", "dim"), (change.name, "bold"), (note, "dim"))
    for detail in change.details:
        yield Text("      ").append_text(difference_line(detail))
    if change.services:
        yield Text.assemble("      ", ("touches ", "dim"), (", ".join(change.services), "magenta"))


def _sum(changed: list[Change], same: int, *, applied: bool) -> Text:
    verbs = ("added", "changed", "deleted") if applied else ("to add", "to change", "to delete")
    signs = [_ACTIONS[change.action][0] for change in changed]
    numbers = [f"{signs.count(sign)} {verb}" for sign, verb in zip("+~-", verbs, strict=True) if sign in signs]
    if same:
        numbers.append(f"{same} unchanged")
    services = {service for change in changed for service in change.services}
    touched = f" {count(len(services), 'feature service')} touched." if services else ""
    return Text.assemble(("✓ ", "green") if applied else "", f"{', '.join(numbers)}.{touched}")
