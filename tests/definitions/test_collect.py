"""Collecting definitions from modules, YAML and folders, and leaving nothing behind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tiffin import Entity, Feature, FeatureTable, ValueType
from tiffin.definitions.collect import collect
from tiffin.errors import InvalidDefinition

DRIVER = "from tiffin import Entity, ValueType\ndriver = Entity('driver_id', value_type=ValueType.INT64)\n"


def write(folder: Path, **files: str) -> Path:
    """Files by name, ``_py`` for ``.py``, ``_yaml`` for ``.yaml`` and ``_in_`` after a folder."""
    for name, text in files.items():
        path = folder / re.sub(r"_(py|yaml)$", r".\1", name.replace("_in_", "/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return folder


def names(*paths: Path) -> list[str]:
    return [f"{type(each).__name__} {each.name}" for each in collect(paths)]  # type: ignore[attr-defined]


def test_objects_at_module_level_and_in_lists(tmp_path: Path) -> None:
    write(
        tmp_path,
        features_py=DRIVER
        + """
from tiffin import Feature, FeatureTable
_template = Entity('hidden')
others = [Entity('a'), (Entity('b'),)]
named = {'c': Entity('c'), 'n': 5}
again = driver
table = FeatureTable('trips', [driver], [Feature('f', 'BOOL')])
def inside(): return Entity('not_collected')
""",
    )
    file = tmp_path / "features.py"
    assert names(file) == ["Entity driver_id", "Entity a", "Entity b", "Entity c", "FeatureTable trips"]
    assert collect(str(file))[0] == Entity("driver_id", value_type=ValueType.INT64)


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    for name in ("one", "two", "six"):
        write(tmp_path, features_py=f"from tiffin import Entity\ne = Entity('{name}')\n")
        assert names(tmp_path / "features.py") == [f"Entity {name}"]
    assert not list(tmp_path.rglob("__pycache__"))


def test_neighbours_and_packages_can_be_imported(tmp_path: Path) -> None:
    write(
        tmp_path,
        one_in_common_py=DRIVER,
        one_in_features_py="from common import driver\nfrom tiffin import Entity\nother = Entity('one')\n",
        two_in_common_py=DRIVER.replace("driver_id", "plane_id"),
        two_in_features_py="from common import driver\n",
        pack_in___init___py="",
        pack_in_deep_in___init___py="from .. import base\nfrom tiffin import Entity\nx = Entity('init')\n",
        pack_in_base_py=DRIVER,
        pack_in_deep_in_features_py="from ..base import driver\nfrom tiffin import Entity\ny = Entity('deep')\n",
    )
    assert names(tmp_path / "one/features.py") == ["Entity driver_id", "Entity one"]
    assert names(tmp_path / "two/features.py") == ["Entity plane_id"]
    assert names(tmp_path / "pack/deep/features.py") == ["Entity driver_id", "Entity deep"]
    assert names(tmp_path / "pack/deep/__init__.py") == ["Entity init"]
    left = [name for name, module in sys.modules.items() if str(tmp_path) in (getattr(module, "__file__", "") or "")]
    assert left == []
    assert not any(str(tmp_path) in place for place in sys.path)


def test_names_of_the_standard_library_do_no_harm(tmp_path: Path) -> None:
    write(tmp_path, types_py=DRIVER, json_py="from tiffin import Entity\ne = Entity('e')\n")
    assert names(tmp_path) == ["Entity e", "Entity driver_id"]
    assert sys.modules["types"].__name__ == "types"


def test_a_folder_gives_what_is_ours_in_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        b_py=DRIVER,
        train_py="raise SystemExit('a script that has nothing to do with it')\n",
        a_in_entities_yaml="kind: Entity\nspec: {name: x}\n---\n\n---\n- kind: Entity\n  spec: {name: y}\n",
        a_in_values_yaml="replicas: 3\n",
        a_in_deployment_yaml="apiVersion: v1\nkind: Deployment\nspec: {}\n",
        venv_in_lib_in_x_py="from tiffin import Entity\ne = Entity('venv')\n",
    )
    write(tmp_path / ".hidden", c_py=DRIVER.replace("driver_id", "hidden"))
    (tmp_path / "venv/pyvenv.cfg").touch()
    assert names(tmp_path) == ["Entity driver_id", "Entity x", "Entity y"]


def test_yaml_and_python_may_agree_but_not_differ(tmp_path: Path) -> None:
    write(tmp_path, a_py=DRIVER, b_yaml="kind: Entity\nspec: {name: driver_id, valueType: INT64}\n")
    assert names(tmp_path) == ["Entity driver_id"]
    write(tmp_path, b_yaml="kind: Entity\nspec: {name: driver_id, valueType: STRING}\n")
    with pytest.raises(InvalidDefinition, match=r"defined twice.*a\.py and in .*b\.yaml"):
        collect(tmp_path)


def test_meta_of_files_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, a_yaml="kind: Entity\nspec: {name: a}\nmeta: {revision: 3}\n")
    assert collect(tmp_path)[0].meta is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\nimport no_such_module\n", r"features\.py, line 2: ModuleNotFoundError.*no_such_module"),
        ("def f(:\n", r"features\.py, line 1: SyntaxError"),
        ("\n\nraise SystemExit(3)\n", r"features\.py, line 3: SystemExit: 3"),
        ("def f():\n    return 1 / 0\n\nf()\n", r"features\.py, line 2: ZeroDivisionError"),
        (DRIVER + "Entity(5)\n", r"features\.py, line 3: name must be a text, got 5"),
        ("import json\njson.loads('{')\n", r"features\.py, line 2: JSONDecodeError"),
    ],
)
def test_an_import_that_fails_names_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, features_py=text)
    with pytest.raises(InvalidDefinition, match=words):
        collect(tmp_path / "features.py")
    assert not any(str(tmp_path) in place for place in sys.path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Entitie\nspec: {name: a}\n", r"a\.yaml: 'Entitie'.*Did you mean 'Entity'"),
        ("spec: {name: a}\n", r"a\.yaml: None is not a kind"),
        ("kind: Entity\nspec: {nam: a}\n", r"a\.yaml: .*nam"),
        ("just text\n", r"a\.yaml: None is not a kind"),
        ("a: [\n", r"a\.yaml: .*not YAML"),
    ],
)
def test_yaml_that_cannot_be_read_names_the_file(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path, a_yaml=text)
    with pytest.raises(InvalidDefinition, match=words):
        collect(tmp_path / "a.yaml")


def test_paths_that_cannot_be_collected(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(InvalidDefinition, match="neither Python nor YAML"):
        collect(tmp_path / "a.txt")
    with pytest.raises(InvalidDefinition, match="no file or folder"):
        collect(tmp_path / "absent")
    assert collect(tmp_path) == []


def test_a_module_may_collect_itself_while_it_runs(tmp_path: Path) -> None:
    body = DRIVER + (
        "if __name__ == '__main__':\n"
        "    from tiffin.definitions.collect import collect\n"
        "    found = collect(__file__)\n"
        "    print(len(found), found[0] == driver, __name__)\n"
    )
    write(tmp_path, pack_in___init___py="", pack_in_features_py=body)
    done = subprocess.run(
        [sys.executable, "-m", "pack.features"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 True __main__\n"


def test_a_table_of_yaml_is_whole(tmp_path: Path) -> None:
    table = FeatureTable("t", ["e"], [Feature("f", "BOOL")], max_age=60)
    (tmp_path / "t.yml").write_text(table.to_yaml() + "---\n" + Entity("e").to_yaml())
    assert collect(tmp_path) == [table, Entity("e")]
