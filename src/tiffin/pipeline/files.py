"""Files of the steps: on a disk or on a bucket, read whole and written whole."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from tiffin.errors import MissingDependency, NotFound, StorageError
from tiffin.offline.location import is_remote, normalise


def join(folder: str, name: str) -> str:
    """The location of a file in a folder."""
    return f"{normalise(folder)}/{name}"


def read(uri: str) -> bytes:
    """A file's bytes; NotFound where there is none, StorageError where it cannot be read."""
    uri = normalise(uri)
    try:
        return _bucket(uri).cat_file(uri) if is_remote(uri) else Path(uri).read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {uri!r}.", hint="Has the step that writes it ended well?") from error
    except OSError as error:
        raise StorageError(f"{uri!r} cannot be read: {error}.", hint="Check that it is a file you may read.") from error


def write(uri: str, content: bytes) -> str:
    """Put a file in its place, whole or not at all; its normalised location. Folders are made."""
    uri = normalise(uri)
    try:
        if is_remote(uri):
            _bucket(uri).pipe_file(uri, content)
        else:
            _write_local(Path(uri), content)
    except OSError as error:
        raise StorageError(f"{uri!r} cannot be written: {error}.", hint="Name a place you may write to.") from error
    return uri


def _write_local(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _bucket(uri: str):  # type: ignore[no-untyped-def]  # fsspec has no types
    import fsspec

    scheme = uri.partition("://")[0]
    try:
        return fsspec.filesystem(scheme)
    except ImportError as error:
        extra = {"gs": "gcs", "s3": "s3"}.get(scheme, scheme)
        raise MissingDependency(f"the driver of {scheme}://", extra=extra, purpose=f"{uri!r}") from error
