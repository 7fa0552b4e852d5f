"""The map of the code names every module, and no module that is gone."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

SOURCE = ROOT / "src" / "tiffin"
#: Command groups are listed by ``cli.main``, and a test of the command line holds that list complete.
BY_THEIR_PARENT = {"cli"}


def modules() -> set[str]:
    found = set()
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        private = any(part.startswith("_") for part in parts)
        if not private and parts[0] not in BY_THEIR_PARENT and "migrations" not in parts:
            found.add(".".join(parts))
    return found


def test_every_module_is_on_the_map() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)*)`", page))
    assert sorted(modules() - named) == []
    parts = {module.partition(".")[0] for module in modules()}
    gone = {name for name in named if name.partition(".")[0] in parts and "." in name} - modules()
    assert sorted(name for name in gone if not (SOURCE / name.replace(".", "/")).exists() and "cli." not in name) == []
