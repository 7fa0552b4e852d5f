"""What the README says that each store answers, asked again."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.losses import __main__ as losses
from examples.losses import on_tiffin
from examples.losses.cases import CASES, Case

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_tiffin_answers_right(case: Case, tmp_path: Path) -> None:
    assert on_tiffin.answer(case.name, tmp_path / "home") == case.right


def test_the_readme_says_what_the_cases_say() -> None:
    readme = (ROOT / "README.md").read_text()
    table = [f"| {case.tried} | {case.feast_says} | {case.tiffin_says} |" for case in CASES]
    assert "\n".join(table) in readme


@pytest.mark.timeout(600)  # Feast is installed into an environment of its own where it is not yet
def test_feast_answers_as_recorded() -> None:
    assert losses.feast_answers() == {case.name: case.feast for case in CASES}
