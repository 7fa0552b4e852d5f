"""The pages of the documentation as blocks of code, in order.

A fenced block is Python, or bash whose lines are ``tiffin`` commands, and is run; every other language is text. A
block after the comment ``<!-- illustrative -->`` shows what needs more than a folder (a bucket, say) and is only
compiled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(?P<marker><!-- illustrative -->\n+)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(\s*<?([^)>\s]+)>?[^)]*\)|(?:src|href)=\"([^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """One fenced block; ``line`` is that of its first line of code."""

    language: str
    code: str
    line: int
    illustrative: bool

    @property
    def commands(self) -> list[str]:
        """The ``tiffin`` commands of a bash block, continued lines joined; empty where it holds anything else."""
        lines = [line for line in self.code.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
        tiffin = self.language == "bash" and all(line.startswith("tiffin ") for line in lines)
        return lines if tiffin else []


def pages() -> list[Path]:
    """README, the other pages at the top, and everything below docs."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("examples/*/*.md"))]


def name(page: Path) -> str:
    """The page's path from the top, for messages."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            language=match["language"],
            code=match["code"],
            line=text.count("\n", 0, match.start("code")) + 1,
            illustrative=match["marker"] is not None,
        )
        for match in FENCE.finditer(text)
    ]


def links(page: Path) -> list[str]:
    """The relative links of a page, code left out."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    text = re.sub(r"`[^`\n]*`", "", text)
    found = [first or second for first, second in LINK.findall(text)]
    return [link for link in found if "://" not in link and not link.startswith("mailto:")]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    plain = (re.sub(r"[`*]", "", heading).strip().lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}
