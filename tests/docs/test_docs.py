"""What the documentation says, run: every block of every page, in order, in an empty folder."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, anchors, blocks, links, name, pages

RUNNABLE = [page for page in pages() if any(b.language == "python" or b.commands for b in blocks(page))]
#: Pages whose commands describe the making of Tiffin itself, or that a test of their own runs.
ELSEWHERE = {"docs/cli.md"}


@pytest.mark.parametrize("page", [page for page in RUNNABLE if name(page) not in ELSEWHERE], ids=name)
def test_blocks_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            # as many empty lines as come before, so that a traceback points into the page
            code = compile("\n" * (block.line - 1) + block.code, str(page), "exec", dont_inherit=True)
            if not block.illustrative:
                exec(code, namespace)  # our own documentation
        elif not block.illustrative:
            for command in block.commands:
                run_command(command, page, block.line)


def test_the_ten_lines_answer_what_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [block] = [block for block in blocks(ROOT / "README.md") if block.language == "python"]
    lines = [line for line in block.code.splitlines() if line and "import" not in line]
    assert len(lines) <= 10
    namespace: dict[str, object] = {}
    exec(block.code, namespace)
    assert namespace["training"]["fares__total"].to_list() == [40, 65]
    assert namespace["training"].columns == ["driver_id", "event_timestamp", "label", "fares__total"]
    said = f"`{namespace['answer']}`".replace("'", '"')
    assert said in (ROOT / "README.md").read_text()


def run_command(command: str, page: Path, line: int) -> None:
    tiffin = Path(sys.executable).with_name("tiffin")
    done = subprocess.run([tiffin, *shlex.split(command)[1:]], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{name(page)}:{line}: {command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_relative_links_resolve(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{name(page)} links to {link}, which does not exist"
        assert path.is_relative_to(ROOT), f"{name(page)} links outside the project: {link}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{name(page)} links to {link}, but the page has no such heading"


def test_every_page_is_linked_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    missing = [name(page) for page in sorted((ROOT / "docs").rglob("*.md")) if page not in linked and page != index]
    assert missing == []


def test_illustrative_blocks_are_few() -> None:
    held_back = [f"{name(page)}:{block.line}" for page in pages() for block in blocks(page) if block.illustrative]
    assert len(held_back) <= 8, held_back
