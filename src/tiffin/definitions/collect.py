"""Collect: the definitions that stand in Python modules, YAML files and folders of both.

A Python file is imported by itself, under a name of its own and with its folder importable, and leaves nothing behind
in ``sys.modules``. What counts are definitions at module level, alone or in lists, tuples and mappings, under names
that do not begin with an underscore. A YAML file holds one or more documents with ``kind`` and ``spec``; their
``meta`` is not read, since a file declares and has seen nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from tiffin.definitions.definition import Definition, read_source
from tiffin.definitions.documents import load_documents
from tiffin.definitions.kinds import kind_named
from tiffin.errors import InvalidDefinition, TiffinError

_YAML: Final = frozenset({".yaml", ".yml"})
_IMPORTS_TIFFIN: Final = re.compile(r"^\s*(from|import)\s+tiffin\b", re.MULTILINE)
#: Importing changes the interpreter's own tables, so one collection goes on at a time.
_importing: Final = threading.Lock()


def collect(paths: str | Path | Iterable[str | Path]) -> list[Definition]:
    """The definitions in files and folders, in their order; equal ones count once.

    A folder gives its Python files that import tiffin and its YAML files of definitions, by name, hidden ones and
    virtual environments left out. InvalidDefinition names the file and line at fault.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    found: dict[tuple[str, str], tuple[Definition, Path]] = {}
    for path in given:
        for file in _files(Path(path)):
            for definition in _definitions(file):
                key = (type(definition).__name__, str(getattr(definition, "name", "")))
                before = found.setdefault(key, (definition, file))
                if before[0] != definition:
                    raise InvalidDefinition(
                        f"{key[0]} {key[1]!r} is defined twice, with different content: in {before[1]} and in {file}.",
                        field="name",
                    )
    return [definition for definition, _ in found.values()]


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from _below(path)
    elif not path.exists():
        raise InvalidDefinition(f"There is no file or folder {str(path)!r}.", hint="Check the path.", field="path")
    elif path.suffix in _YAML or path.suffix == ".py":
        yield path
    else:
        raise InvalidDefinition(
            f"{str(path)!r} is neither Python nor YAML.", field="path", hint="Its name must end in .py, .yaml or .yml."
        )


def _below(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        place = Path(here)
        folders[:] = sorted(
            name for name in folders if not name.startswith((".", "__")) and not (place / name / "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            file = place / name
            is_python = file.suffix == ".py" and _IMPORTS_TIFFIN.search(read_source(file))
            if not name.startswith(".") and (is_python or (file.suffix in _YAML and _is_ours(file))):
                yield file


def _is_ours(file: Path) -> bool:
    """Whether a YAML file found in a folder holds definitions; others lie there too, such as Kubernetes manifests."""
    documents = [each for document in load_documents(read_source(file)) for each in _each(document)]
    return any(isinstance(each, dict) and "spec" in each and "apiVersion" not in each for each in documents)


def _definitions(file: Path) -> list[Definition]:
    return list(_in_yaml(file) if file.suffix in _YAML else _in_module(_imported(file)))


def _in_yaml(file: Path) -> Iterator[Definition]:
    try:
        for document in load_documents(read_source(file)):
            for each in _each(document):
                declared = {key: each[key] for key in each if key != "meta"} if isinstance(each, dict) else {}
                yield kind_named(declared.get("kind")).from_document(declared)
    except InvalidDefinition as error:
        raise InvalidDefinition(f"{file}: {error.message}", field=error.field, hint=error.hint) from error


def _each(document: Any) -> list[Any]:
    return document if isinstance(document, list) else [document]


def _in_module(module: ModuleType) -> Iterator[Definition]:
    for name, value in vars(module).items():
        if not name.startswith("_"):
            yield from _inside(value)


def _inside(value: object) -> Iterator[Definition]:
    if isinstance(value, Definition):
        yield value
    elif isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _inside(item)


def _imported(file: Path) -> ModuleType:
    """The module of a Python file, imported anew; what it raises is named with file and line."""
    file = file.resolve()
    top = file.parent
    while (top / "__init__.py").exists():
        top = top.parent
    parts = file.relative_to(top).with_suffix("").parts
    with _importing, _isolated(top, parts[0] if len(parts) > 1 else ""):
        try:
            if len(parts) > 1:  # inside a package, whose relative imports need its real name
                return importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
            return _executed(file)
        except SyntaxError as error:
            raise _failed(error.filename or file, error.lineno, f"SyntaxError: {error.msg}") from error
        except (Exception, SystemExit) as error:
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == file]
            what = error.message if isinstance(error, TiffinError) else f"{type(error).__name__}: {error}"
            hint = error.hint if isinstance(error, TiffinError) else None
            raise _failed(file, frames[-1].lineno if frames else None, what, hint) from error


def _executed(file: Path) -> ModuleType:
    """A file's module under a name that no other module has, ``types.py`` included."""
    spec = importlib.util.spec_from_file_location(f"tiffin_collected_{file.stem}", file)
    assert spec is not None  # the file ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # dataclasses and the like look their module up
    spec.loader.exec_module(module)
    return module


def _failed(file: str | Path, line: int | None, what: str, hint: str | None = None) -> InvalidDefinition:
    return InvalidDefinition(f"{file}, line {line or 1}: {what}", field="path", hint=hint)


@contextmanager
def _isolated(folder: Path, package: str) -> Iterator[None]:
    """Import from a folder first, and forget afterwards every module that came from it.

    Modules of ``package`` that are loaded already are set aside meanwhile, unless it is Tiffin itself.
    """
    aside = {each for each in sys.modules if package and package != "tiffin" and each.partition(".")[0] == package}
    hidden = {each: sys.modules.pop(each) for each in aside}
    before = set(sys.modules)
    writes = sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # a file may change twice within the second that a cached one is trusted
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = writes
        for each in set(sys.modules) - before:
            source = getattr(sys.modules[each], "__file__", None)
            if source is not None and Path(source).is_relative_to(folder) and not each.startswith("tiffin."):
                del sys.modules[each]
        sys.modules.update(hidden)
