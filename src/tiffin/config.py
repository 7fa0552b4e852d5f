"""Config: the options, read once, in the order argument > environment > file > default.

Files are ``tiffin.toml``, found upward from the working directory, and then the user's own: ``$TIFFIN_CONFIG`` or
``~/.config/tiffin/config.toml``. Every value remembers where it came from. The options are listed in
:mod:`tiffin.options`.
"""

from __future__ import annotations

import json
import logging
import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

from tiffin.errors import InvalidConfig, StorageError
from tiffin.options import (
    OPTIONS,
    Option,
    check_value,
    names_server,
    option_named,
    read_flag,
    read_integer,
    read_number,
    read_size,
    shown,
)

PREFIX: Final = "TIFFIN_"
PROJECT_FILE: Final = "tiffin.toml"
HOME_FOLDER: Final = ".tiffin"

_log = logging.getLogger(__name__)


class _Value(NamedTuple):
    text: str
    origin: str
    folder: Path | None = None  # of the file that holds it


class Config:
    """The options of one client. Names are case-insensitive; an unknown one raises InvalidConfig."""

    def __init__(self, options: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self._cwd = Path.cwd()
        self._found = _upward(self._cwd, HOME_FOLDER, folder=True) or self._cwd / HOME_FOLDER
        arguments = _layer({**(options or {}), **kwargs}, origin="argument")
        lower = [_environment(), *(_file(path) for path in _files(self._cwd))]
        self._values = {name: _Value(option.default, "default") for name, option in OPTIONS.items()}
        for layer in reversed(lower):
            self._values.update(layer)
        if read_flag(arguments.get("embedded", self._values["embedded"]).text):
            arguments = dict(_without_servers(arguments))
        self._values.update(arguments)

    @classmethod
    def of_user(cls) -> Config:
        """The options of the user's own file alone: to change one and :meth:`save` no others with it."""
        config = cls()
        config._values = {name: _Value(option.default, "default") for name, option in OPTIONS.items()}
        path = _user_file()
        if path.is_file():
            config._values.update(_file(path))
        return config

    def get(self, name: str, default: str = "") -> str:
        """The text of an option; ``default`` where nothing was chosen and the option has no default of its own."""
        return self._value(name).text or default

    def getboolean(self, name: str) -> bool:
        """A flag; unset counts as False."""
        return read_flag(self.get(name))

    def getint(self, name: str) -> int:
        """A whole number; a size is counted in bytes. InvalidConfig where it is unset."""
        text = self._needed(name)
        return read_size(text) if option_named(name).kind == "size" else read_integer(text)

    def getfloat(self, name: str) -> float:
        """A number. InvalidConfig where it is unset."""
        return read_number(self._needed(name))

    def getsize(self, name: str) -> int | None:
        """A size in bytes, None where it is unset."""
        text = self.get(name)
        return read_size(text) if text else None

    def set(self, name: str, value: object) -> None:
        """Choose a value, which then wins over every other origin; None returns to the default."""
        option = option_named(name)
        if value is None:
            self._values[option.name] = _Value(option.default, "default")
        else:
            self._values[option.name] = _Value(_text(option, value, "set"), "set")

    def exists(self, name: str) -> bool:
        """Whether the option has a value."""
        return bool(self.get(name))

    def origin(self, name: str) -> str:
        """Where the value came from: ``set``, ``argument``, ``environment NAME``, ``file PATH`` or ``default``."""
        return self._value(name).origin

    @property
    def home(self) -> Path:
        """The folder of an embedded store, which need not exist yet.

        Option ``home``; else the nearest ``.tiffin`` at or above the working directory; else ``.tiffin`` in it.
        """
        chosen = self._value("home").text
        return (self._cwd / Path(chosen).expanduser() if chosen else self._found).resolve()

    @property
    def root(self) -> Path:
        """The folder from which relative paths of sources are meant.

        The one that holds a found ``.tiffin``, or the file that names ``home``; otherwise the working directory.
        """
        chosen = self._value("home")
        return (chosen.folder or self._cwd if chosen.text else self._found.parent).resolve()

    def save(self) -> Path:
        """Write all values that are not defaults to the user's file, readable by the user alone; its path."""
        path = _user_file()
        lines = [
            f"{name} = {_toml(value.text)}\n"
            for name, value in sorted(self._values.items())
            if value.text != OPTIONS[name].default
        ]
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.writelines(lines)
            draft.replace(path)
        except OSError as error:
            raise StorageError(f"The configuration cannot be written to {path}: {error.strerror}.") from error
        return path

    def items(self) -> Iterator[tuple[Option, str, str]]:
        """Every option with its printable value and its origin."""
        for name, option in OPTIONS.items():
            value = self._values[name]
            yield option, shown(option, value.text), value.origin

    def __str__(self) -> str:
        chosen = [
            f"{option.name} = {text!r} ({origin})" for option, text, origin in self.items() if origin != "default"
        ]
        return "\n".join(chosen) or "every option has its default"

    def _value(self, name: str) -> _Value:
        return self._values[option_named(name).name]

    def _needed(self, name: str) -> str:
        text = self.get(name)
        if not text:
            raise InvalidConfig(f"Option {name!r} is not set.", field=name, hint="Give it a value.")
        return text


def _layer(data: Mapping[str, Any], *, origin: str, folder: Path | None = None) -> dict[str, _Value]:
    """The checked values of one origin. None counts as not given."""
    layer: dict[str, _Value] = {}
    for name, value in data.items():
        if value is None:
            continue
        option = option_named(name)
        text = _text(option, value, origin)
        if option.kind == "path" and text and folder is not None:
            text = str(folder / Path(text).expanduser())
        if option.name in layer and layer[option.name].text != text:
            raise InvalidConfig(
                f"Option {option.name!r} is given twice with different values ({origin}).", field=option.name
            )
        layer[option.name] = _Value(text, origin, folder)
    return layer


def _text(option: Option, value: object, origin: str) -> str:
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str | int | float | Path):
        text = str(value).strip()
    else:
        raise InvalidConfig(f"Option {option.name!r} must be a text or a number, got {value!r}.", field=option.name)
    try:
        check_value(option, text)
    except InvalidConfig as error:
        message = f"Option {option.name!r} ({origin}): {error.message}"
        raise InvalidConfig(message, field=option.name, hint=error.hint) from None
    return text


def _environment() -> dict[str, _Value]:
    """Options from variables TIFFIN_<OPTION>.

    Unknown variables are not errors: Kubernetes puts TIFFIN_CORE_SERVICE_HOST and the like into the pods beside a
    service named tiffin-core. Near misses are logged.
    """
    layer: dict[str, _Value] = {}
    for variable in sorted(os.environ):
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name == "config":
            continue
        try:
            option_named(name)
        except InvalidConfig:
            if near := get_close_matches(name, OPTIONS, n=1, cutoff=0.85):
                _log.warning("%s is not an option; did you mean %s%s?", variable, PREFIX, near[0].upper())
            continue
        layer.update(_layer({name: os.environ[variable]}, origin=f"environment {variable}"))
    return layer


def _files(cwd: Path) -> list[Path]:
    """The files that may hold options, the stronger first."""
    project = _upward(cwd, PROJECT_FILE, folder=False)
    return [path for path in (project, _user_file()) if path is not None and _exists(path, folder=False)]


def _user_file() -> Path:
    named = os.environ.get(f"{PREFIX}CONFIG")
    return Path(named).expanduser() if named else Path.home() / ".config" / "tiffin" / "config.toml"


def _file(path: Path) -> dict[str, _Value]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path} is not TOML: {error}.", hint='Write lines such as: project = "rides"') from None
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be read: {error.strerror}.") from None
    return _layer(data, origin=f"file {path}", folder=path.parent)


def _upward(start: Path, name: str, *, folder: bool) -> Path | None:
    """The nearest entry of that name at or above a folder."""
    for place in (start, *start.parents):
        candidate = place / name
        if _exists(candidate, folder=folder):
            return candidate
    return None


def _exists(path: Path, *, folder: bool) -> bool:
    """Whether it is there; a place that may not be looked into, such as the home of another user, counts as empty."""
    try:
        return path.is_dir() if folder else path.is_file()
    except PermissionError:
        return False


def _without_servers(arguments: dict[str, _Value]) -> Iterator[tuple[str, _Value]]:
    for name, value in arguments.items():
        if names_server(OPTIONS[name], value.text):
            _log.warning("embedded: ignoring %s=%r", name, shown(OPTIONS[name], value.text))
        else:
            yield name, value


def _toml(text: str) -> str:
    # JSON's escapes are TOML's too, but TOML also wants DEL escaped
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
