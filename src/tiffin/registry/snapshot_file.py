"""SnapshotFile: the last state of a registry on disk, for a service that starts while the registry is away.

The file begins with one line that names its format and holds a checksum of the rest, so that a file of another format,
or one that a full disk cut short, is never taken for a state. It is written beside and renamed, and only its owner may
read it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

from tiffin.errors import CorruptData, StorageError
from tiffin.registry import contents as documents
from tiffin.registry.base import Contents

_FORMAT: Final = b"tiffin-snapshot 1 "


def save(path: Path, contents: Contents) -> None:
    """Replace the file by this state: either wholly or, where StorageError is raised, not at all."""
    write_private(path, sealed(documents.encode(contents)))


def load(path: Path) -> Contents | None:
    """The state that was saved last, None where there is no file; CorruptData where it is not one of ours."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"The file {path} cannot be read: {error.strerror}.") from error
    return documents.decode(unsealed(data, path))


def sealed(body: bytes) -> bytes:
    """Bytes behind a line that names the format and their checksum."""
    return _FORMAT + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def unsealed(data: bytes, path: Path) -> bytes:
    """The bytes behind that line; CorruptData where the line does not fit them."""
    head, _, body = data.partition(b"\n")
    if sealed(body)[: len(head)] != head or not head.startswith(_FORMAT):
        raise CorruptData(
            f"The file {path} is no snapshot of this format, or only a part of one.",
            hint="Delete it: it is written anew when the registry answers.",
        )
    return body


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, atomically: what was there stays until all is on disk."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    except OSError as error:
        raise _refused(path, error) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(draft).replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        Path(draft).unlink(missing_ok=True)
        raise _refused(path, error) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename in it survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"The snapshot cannot be written to {path}: {error.strerror}.",
        hint="Check that the folder may be written and that its disk has room.",
    )
