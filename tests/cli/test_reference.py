"""The reference pages: complete, current, and with examples that can be typed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import tiffin
from tests.cli.conftest import Tiffin
from tests.cli.test_help import EVERY, RUNNABLE
from tiffin import errors
from tiffin.cli.python_reference import markdown, signature
from tiffin.cli.reference import PAGES
from tiffin.options import OPTIONS

DOCS = Path(__file__).parents[2] / "docs"

#: What runs until it is stopped; test_serve runs it.
_GO_ON = {
    "tiffin up",
    "tiffin serve core",
    "tiffin serve online",
    "tiffin serve model",
    "tiffin stream run",
    "tiffin jobs run",
}
#: Examples that name what a new project does not have; they must fail for that reason alone.
_NEEDS_MORE = {
    "tiffin jobs show": "not_found",
    "tiffin token revoke": "not_found",
    "tiffin jobs cancel": "not_found",
    "tiffin jobs logs": "not_found",
    "tiffin entities diff": "not_found",
    "tiffin feature-tables diff": "not_found",
    "tiffin feature-services diff": "not_found",
    "tiffin registry rollback": "not_found",
    "tiffin job run": "not_found",
    "tiffin pipeline run": "job_failed",
    "tiffin pipeline submit": "unavailable",
    "tiffin entities delete": "failed_precondition",
    "tiffin feature-tables delete": "breaking_change",
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run `make docs`"


def test_no_command_is_missing_from_the_page() -> None:
    page = (DOCS / "cli.md").read_text()
    headings = re.findall(r"^#+ (tiffin .+)$", page, flags=re.MULTILINE)
    assert headings == list(EVERY)
    for path, command in RUNNABLE.items():
        section = page[page.index(f"# {path}\n") :].partition("\n#")[0]
        assert f"```console\n$ {path}" in section
        for parameter in command.params:
            words = parameter.opts[-1] if parameter.param_type_name == "option" else parameter.metavar
            assert words.strip("[]") in page, f"{path} {words}"


def test_no_public_name_is_missing_from_the_page() -> None:
    page = (DOCS / "reference.md").read_text()
    for name in tiffin.__all__:
        if name not in {"__version__", "errors"}:
            assert f"### {name}\n" in page, name
    for name, value in vars(errors).items():
        if isinstance(value, type) and value.__module__ == errors.__name__:
            assert f"### {name}\n" in page, name
    for option in OPTIONS:
        assert f"| `{option}` |" in page, option
    for name in ("RetrievalJob", "IngestionJob", "JobStatus", "stage_entities_to_fs", "Config", "OfflineSuite"):
        assert f"### {name}\n" in page, name


def test_a_stale_page_fails_the_check(tmp_path: Path) -> None:
    page = tmp_path / "cli.md"
    command = [sys.executable, "-m", "tiffin.cli.reference"]

    def run(what: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, what, str(page)], capture_output=True, text=True, check=False)

    assert run("--check").returncode == 1
    assert run("--write").returncode == 0
    assert run("--check").returncode == 0
    page.write_text(page.read_text().replace("tiffin jobs show", "tiffin jobs shwo"))
    stale = run("--check")
    assert stale.returncode == 1
    assert "make docs" in stale.stderr
    other = subprocess.run([*command, "--write", "x.md"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert other.returncode == 2


def test_every_example_can_be_typed(filled: Path, tiffin: Tiffin) -> None:
    """In the order of the page, deletions last, in one project; what needs more fails for the declared reason."""
    last = sorted(RUNNABLE, key=lambda path: path.endswith((" delete", " archive")))
    for path in last:
        for line in RUNNABLE[path].epilog.splitlines()[1:]:
            typed = line.removeprefix("$ ")
            if not typed.startswith("tiffin ") or "|" in typed or "services.yaml" in typed or "today" in typed:
                continue
            if path in _GO_ON:
                continue
            arguments = shlex.split(typed)[1:]
            if path in _NEEDS_MORE:
                outcome = tiffin(*arguments, "--json", code=1)
                assert outcome.error["code"] == _NEEDS_MORE[path], typed
            else:
                tiffin(*arguments)


def test_signatures_are_written_as_in_the_source() -> None:
    def call(first: str, *rest: int, key: dict[str, int] | None = None, **more: float) -> list[str]: ...

    assert signature(call) == "(first: str, *rest: int, key: dict[str, int] | None = None, **more: float) -> list[str]"

    def keyword(self: object, first: int, *, long: bool = False) -> None: ...

    assert signature(keyword) == "(first: int, *, long: bool = False) -> None"


def test_docstrings_become_markdown() -> None:
    text = "See :class:`tiffin.refs.FeatureRef` and ``x``::\n\n    a  b\n\n      c\n\n>>> 1 + 1\n2"
    assert markdown(text) == "See `FeatureRef` and `x`:\n\n```text\na  b\n\n  c\n```\n\n```pycon\n>>> 1 + 1\n2\n```"
