"""``tiffin init``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tiffin.cli.session import Session, command, group
from tiffin.errors import AlreadyExists, StorageError

if TYPE_CHECKING:
    from rich.console import RenderableType

_STARTER: Final = Path(__file__).parent / "starter"

#: File in the package: its place in the new project. A file named .gitignore would hide its neighbours from packaging.
_FILES: Final = {
    "README.md": "README.md",
    "features.py": "features.py",
    "tiffin.toml": "tiffin.toml",
    "data/driver_statistics.csv": "data/driver_statistics.csv",
    "data/trips.csv": "data/trips.csv",
    "gitignore": ".gitignore",
}

app = group("", "")


@command(app, "init", example="tiffin init rides\ncd rides", store=False)
def init(
    session: Session, directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder; made if missing.")]
) -> None:
    """Make a starter project: definitions, sample data and a README.

    The README leads through the first five commands. A file that is there already is never overwritten.
    """
    present = [name for name in _FILES.values() if (directory / name).exists()]
    if present:
        raise AlreadyExists(
            f"{directory} already has {', '.join(present)}; nothing was written.", hint="Name a new folder."
        )
    try:
        for source, name in _FILES.items():
            place = directory / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes((_STARTER / source).read_bytes())
    except OSError as error:
        raise StorageError(f"{error.filename} cannot be written: {error.strerror}.", hint="Name another.") from None
    written = [str(directory / name) for name in _FILES.values()]
    session.answer({"directory": str(directory), "files": written}, lambda: _next_steps(directory, written))


def _next_steps(directory: Path, written: list[str]) -> list[RenderableType]:
    from tiffin.cli.view import words

    steps = [] if directory.resolve() == Path.cwd() else [words("  ", (f"cd {shlex.quote(str(directory))}", "cyan"))]
    return [
        *(words(("+ ", "green"), name) for name in written),
        "\nNext:",
        *steps,
        words("  ", ("tiffin apply", "cyan")),
        f"and so on, as {directory / 'README.md'} tells.",
    ]
