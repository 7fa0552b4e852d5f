"""tiffin plan and apply: what would change, what changed, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Tiffin

FEATURES = Path("features.py")


def edit(before: str, after: str) -> None:
    text = FEATURES.read_text()
    assert before in text
    FEATURES.write_text(text.replace(before, after))


def test_plan_changes_nothing_and_apply_does(starter: Path, tiffin: Tiffin) -> None:
    shown = tiffin("plan").out
    assert "+ Entity driver_id" in shown
    assert "3 to add." in shown
    assert tiffin("feature-tables", "list", "--json").json == []
    assert "3 added." in tiffin("apply").out
    assert [each["spec"]["name"] for each in tiffin("feature-tables", "list", "--json").json] == ["driver_statistics"]
    assert "Nothing to change" in tiffin("apply").out


def test_the_plan_for_machines(starter: Path, tiffin: Tiffin) -> None:
    found = tiffin("plan", "--json").json
    assert found["project"] == "default"
    assert {(each["kind"], each["name"], each["action"]) for each in found["changes"]} == {
        ("Entity", "driver_id", "create"),
        ("FeatureTable", "driver_statistics", "create"),
        ("FeatureService", "trip_completion", "create"),
    }
    assert tiffin("apply", "--json").json["changes"] == found["changes"]


def test_a_compatible_change_is_applied_and_names_what_it_touches(starter: Path, tiffin: Tiffin) -> None:
    tiffin("apply")
    edit("How each driver did, once a day.", "Each day of each driver.")
    shown = tiffin("plan").out
    assert "Compatible" in shown
    assert "~ FeatureTable driver_statistics" in shown
    assert "Each day of each driver." in shown
    tiffin("apply")
    assert tiffin("feature-tables", "describe", "driver_statistics", "--json").json["meta"]["revision"] == 2


def test_a_breaking_change_needs_to_be_allowed(starter: Path, tiffin: Tiffin) -> None:
    tiffin("apply")
    edit('        "driver_statistics:rating",\n', "")
    edit(
        '        Feature("rating", ValueType.FLOAT, description="Mean of the stars given by riders, from 1 to 5."),\n',
        "",
    )
    shown = tiffin("plan").out
    assert "Breaking" in shown
    assert "trip_completion" in shown
    assert "--allow-breaking" in shown
    outcome = tiffin("apply", code=1)
    assert "--allow-breaking" in outcome.err
    assert outcome.out == ""
    assert tiffin("apply", "--json", code=1).error["code"] == "breaking_change"
    assert len(tiffin("feature-tables", "describe", "driver_statistics", "--json").json["spec"]["features"]) == 3
    tiffin("apply", "--allow-breaking")
    assert len(tiffin("feature-tables", "describe", "driver_statistics", "--json").json["spec"]["features"]) == 2


def test_yaml_is_applied_as_python_is(starter: Path, tiffin: Tiffin) -> None:
    tiffin("apply")
    texts = [
        tiffin("entities", "describe", "driver_id", "--yaml").out,
        tiffin("feature-tables", "describe", "driver_statistics", "--yaml").out,
        tiffin("feature-services", "describe", "trip_completion", "--yaml").out,
    ]
    Path("all.yaml").write_text("---\n".join(texts))
    assert "Nothing to change" in tiffin("plan", "-f", "all.yaml").out
    shown = tiffin("apply", "-f", "all.yaml", "-p", "copy").out
    assert "Project copy" in shown
    assert "3 added." in shown
    assert "copy" in tiffin("projects", "list").out


def test_several_files(starter: Path, tiffin: Tiffin) -> None:
    Path("zones.yaml").write_text("kind: Entity\nspec: {name: zone, valueType: STRING}\n")
    shown = tiffin("plan", "-f", "features.py", "-f", "zones.yaml").out
    assert "zone" in shown
    assert "4 to add." in shown


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("broken.py", "from tiffin import Entity\nx = Entity(\n", "broken.py"),
        ("raises.py", "raise ValueError('no such column')\n", "no such column"),
        ("unknown.yaml", "kind: Entitty\nspec: {name: a}\n", "Entity"),
        ("nothing.py", "x = 1\n", "nothing.py"),
        ("bad.yaml", "kind: Entity\nspec: {name: 1a}\n", "1a"),
        ("torn.yaml", "kind: [\n", "YAML"),
    ],
)
def test_files_that_cannot_be_read_say_why_without_a_traceback(
    name: str, text: str, says: str, starter: Path, tiffin: Tiffin
) -> None:
    Path(name).write_text(text)
    outcome = tiffin("apply", "-f", name, code=1)
    assert says in outcome.err
    assert "Traceback" not in outcome.err
    assert tiffin("entities", "list", "--json").json == []
    assert tiffin("apply", "-f", name, "--json", code=1).error["message"]


def test_a_path_that_is_not_there(starter: Path, tiffin: Tiffin) -> None:
    assert "missing.py" in tiffin("plan", "-f", "missing.py", code=1).err


def test_a_folder_without_definitions_says_so(tiffin: Tiffin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = tiffin("apply", "--home", "store", code=1)
    assert outcome.err.startswith("error: ")
