"""The reference of the Python surface: signatures and docstrings of the public names, as Markdown."""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from textwrap import dedent, indent
from types import ModuleType
from typing import Any, Final

from tiffin.options import ALIASES, OPTIONS

#: The public modules with what is shown of each; None means the module's ``__all__``.
MODULES: Final[dict[str, tuple[str, ...] | None]] = {
    "tiffin": None,
    "tiffin.data_source": None,
    "tiffin.data_format": None,
    "tiffin.config": ("Config",),
    "tiffin.staging.entities": None,
    "tiffin.commit": ("Commit",),
    "tiffin.jobs": None,
    "tiffin.online.response": ("OnlineResponse", "FieldValues"),
    "tiffin.registry.plan": ("Plan", "Change"),
    "tiffin.registry.diff": ("Difference",),
    "tiffin.registry.base": ("Revision",),
    "tiffin.registry.search": ("FeatureInfo",),
    "tiffin.errors": None,
    "tiffin.testing": None,
    "tiffin.testing.registry": ("StoreSuite", "RegistrySuite"),
    "tiffin.testing.offline": ("OfflineSuite",),
    "tiffin.testing.online": ("OnlineSuite",),
    "tiffin.testing.strategies": ("Case", "cases"),
}

_HEAD: Final = """\
# Python reference

<!-- Made by `make docs` from the code; edit the code instead. -->

The rules behind these names are in [semantics](semantics.md); this page says how they are called.
"""


def python_page() -> str:
    """The reference of every public name, in Markdown."""
    blocks = [_HEAD]
    shown: set[int] = set()
    for name, names in MODULES.items():
        module = import_module(name)
        blocks.append(f"## {name}\n\n{markdown(inspect.getdoc(module) or '')}\n")
        for member in names or _public(module):
            value = getattr(module, member)
            if not isinstance(value, ModuleType) and id(value) not in shown:
                shown.add(id(value))
                blocks.extend(_member(member, value))
    return "\n".join([*blocks, _options()])


def _options() -> str:
    """Every option, as a table."""
    lines = [
        "## Options",
        "",
        "Each is an argument of `Client`, a variable such as `TIFFIN_PROJECT`, or a line of `tiffin.toml` or of the",
        "user's own file; the first of these that names it counts.",
        "",
        "| option | kind | default | meaning |",
        "|--|--|--|--|",
    ]
    for option in OPTIONS.values():
        default = f"`{option.default}`" if option.default else ""
        lines.append(f"| `{option.name}` | {option.kind} | {default} | {option.description} |")
    also = ", ".join(f"`{alias}` for `{name}`" for alias, name in sorted(ALIASES.items()))
    return "\n".join([*lines, "", f"Other names are understood too: {also}.", ""])


def _public(module: ModuleType) -> list[str]:
    listed: list[str] | None = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    return [name for name, value in vars(module).items() if _is_own(name, value, module)]


def _is_own(name: str, value: Any, module: ModuleType) -> bool:
    shown = inspect.isclass(value) or inspect.isfunction(value)
    return shown and not name.startswith("_") and value.__module__ == module.__name__


def _member(name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield from _class(name, value)
    elif inspect.isfunction(value):
        yield f"### {name}\n\n```py\n{name}{signature(value)}\n```\n\n{markdown(inspect.getdoc(value) or '')}\n"


def _class(name: str, kind: type) -> Iterator[str]:
    yield f"### {name}\n"
    if issubclass(kind, enum.Enum):
        yield f"{_doc(kind)}\n\nMembers: {', '.join(f'`{member.name}`' for member in kind)}.\n"
        return
    if issubclass(kind, BaseException):
        yield f"{_doc(kind)}\n"
        return
    yield f"```py\n{name}{signature(kind)}\n```\n\n{_doc(kind)}\n"
    listed = [_method(kind, method, value) for method, value in _methods(kind)]
    if listed:
        yield "\n".join([*listed, ""])


def _method(kind: type, name: str, value: Any) -> str:
    """One method or property as an item of a list; a test of a shipped suite as the rule that it is named after."""
    if name.startswith("test_"):
        return f"- {name.removeprefix('test_').replace('_', ' ')}"
    words = markdown(inspect.getdoc(getattr(kind, name)) or "").replace("\n", "\n  ").replace("\n  \n", "\n\n")
    if isinstance(value, property):
        return f"- `{name}`: {words}"
    owner = f"{kind.__name__}." if isinstance(value, classmethod | staticmethod) else ""
    call = f"{owner}{name}{signature(getattr(kind, name))}"
    if "\n" in call:
        code = indent(f"```py\n{call}\n```", "  ")
        return f"- `{owner}{name}`:\n\n{code}\n\n  {words}\n"
    return f"- `{call}`: {words}" if words else f"- `{call}`"


def _methods(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties, those of the package's own base classes included."""
    seen: set[str] = set()
    for owner in kind.__mro__:
        if not owner.__module__.startswith("tiffin"):
            continue
        for name, value in vars(owner).items():
            callable_ = inspect.isfunction(value) or isinstance(value, classmethod | staticmethod | property)
            if callable_ and not name.startswith("_") and name not in seen:
                seen.add(name)
                yield name, value


def _doc(kind: type) -> str:
    """A class's own docstring; an inherited one says nothing of it."""
    return markdown(inspect.cleandoc(kind.__doc__ or ""))


def signature(target: Any) -> str:
    """A signature as it is written in the source, a long one folded to one parameter a line."""
    found = inspect.signature(target)
    parts: list[str] = []
    star = False
    for each in found.parameters.values():
        if each.name == "self":
            continue
        if each.kind is each.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        parts.append(_parameter(each))
    returns = "" if found.return_annotation is found.empty else f" -> {_annotation(found.return_annotation)}"
    line = f"({', '.join(parts)}){returns}"
    return line if len(line) < 96 else "(\n" + "".join(f"    {part},\n" for part in parts) + f"){returns}"


def _parameter(each: inspect.Parameter) -> str:
    stars = "**" if each.kind is each.VAR_KEYWORD else "*" if each.kind is each.VAR_POSITIONAL else ""
    annotation = "" if each.annotation is each.empty else f": {_annotation(each.annotation)}"
    if each.default is each.empty:
        return f"{stars}{each.name}{annotation}"
    default = str(each.default) if isinstance(each.default, enum.Enum) else repr(each.default)
    if default == "<factory>":
        default = "{}" if annotation.startswith(": dict") else "[]"
    return f"{each.name}{annotation}{' = ' if annotation else '='}{default}"


def _annotation(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text)


def markdown(text: str) -> str:
    """A docstring as Markdown: literals and roles as code, doctests and indented blocks fenced."""
    text = re.sub(r":mod:`([^`]+)`", r"`\1`", text)
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    return "\n\n".join(_block(block) for block in _blocks(text))


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs; those that are indented together stay together."""
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        if blocks and block.startswith("    ") and blocks[-1].startswith("    "):
            blocks[-1] += f"\n\n{block}"
        else:
            blocks.append(block)
    return (block for block in blocks if block != "::")


def _block(block: str) -> str:
    if block.startswith(">>>"):
        return f"```pycon\n{block}\n```"
    if block.startswith("    "):
        return f"```text\n{dedent(block)}\n```"
    return block[:-1] if block.endswith("::") else block
