"""Where files are: what a source's ``file_url`` names, and the Parquet files that a plain folder holds.

Local paths are absolute and without a scheme; on buckets everything stays a URI. Names that begin with ``.`` or ``_``
are not data: staging folders, logs, markers of other systems.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from tiffin.errors import InvalidArgument, MissingDependency, StorageError, Unsupported

#: Endings that make a file of a folder a Parquet file. A path or glob that names files needs none.
PARQUET_SUFFIXES: Final = (".parquet", ".parq", ".pq")

#: The value that hive-partitioned folders write for null.
HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_GLOB: Final = re.compile(r"[*?\[]")
_WHOLE_FOLDER: Final = re.compile(r"(/\*{1,2})+$")
_ALIASES: Final = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_EXTRAS: Final = {"gs": "gcs", "s3": "s3"}
#: Where files are read and written, besides paths: what every library below us speaks alike.
_BUCKETS: Final = ("gs", "s3", "az", "abfs", "abfss")


class Found(NamedTuple):
    """One file of a listing. ``partition`` holds the ``key=value`` folders between the root and the file."""

    path: str
    size: int
    modified_ns: int
    partition: dict[str, str | None]


def normalise(url: str) -> str:
    """The one spelling of a location: absolute local path or URI, without a trailing slash.

    A trailing ``/*`` or ``/**`` says no more than the folder itself and is dropped; other globs are kept. Unsupported
    for what is neither a path nor on a bucket, such as ``https://``.

    >>> normalise("file:///data/drivers/*")
    '/data/drivers'
    >>> normalise("s3a://bucket/drivers/")
    's3://bucket/drivers'
    """
    if not url.strip():
        raise InvalidArgument("A file_url must not be empty.", field="file_url", hint="Name a folder or file.")
    if "\0" in url:
        raise InvalidArgument(f"{url!r} cannot be a path.", field="file_url", hint="Remove the zero byte.")
    scheme = _SCHEME.match(url)
    if scheme is not None and scheme[1].lower() != "file":
        name = _ALIASES.get(scheme[1].lower(), scheme[1].lower())
        if name not in _BUCKETS:
            raise Unsupported(
                f"{url!r} names no place for files: Tiffin reads and writes paths and buckets "
                f"({', '.join(f'{bucket}://' for bucket in _BUCKETS)}), not {name}://.",
                field="file_url",
                hint="Download the files first and name their path, or name the bucket that serves them.",
            )
        rest = _WHOLE_FOLDER.sub("", url[scheme.end() :]).rstrip("/")
        return f"{name}://{rest}"
    path = unquote(urlsplit(url.replace("?", "%3F").replace("#", "%23")).path) if url.startswith("file:") else url
    path = _WHOLE_FOLDER.sub("", path) if _WHOLE_FOLDER.sub("", path) else path
    return os.path.normpath(Path(path).expanduser().absolute())


def is_remote(uri: str) -> bool:
    """Whether a normalised location lies on a bucket."""
    return _SCHEME.match(uri) is not None


def is_glob(uri: str) -> bool:
    """Whether a normalised location is a pattern. What exists as it is written is none, whatever its letters."""
    if _GLOB.search(uri) is None or is_remote(uri):
        return _GLOB.search(uri) is not None
    return _GLOB.search(uri[len(_existing(uri)) :]) is not None


def _existing(path: str) -> str:
    """The deepest folder or file on a local path that exists as it is written."""
    return next((str(place) for place in (Path(path), *Path(path).parents) if place.exists()), "")


def list_parquet(uri: str) -> tuple[Found, ...]:
    """The Parquet files of a plain location, by path: one file, all below a folder, or the matches of a glob.

    A location that does not exist holds none. StorageError where it cannot be listed.
    """
    return list_files(uri, PARQUET_SUFFIXES)


def list_files(uri: str, suffixes: tuple[str, ...] = ("",)) -> tuple[Found, ...]:
    """As :func:`list_parquet`, for files whose names end in one of ``suffixes`` where a folder is listed."""
    if is_remote(uri):
        return tuple(sorted(_list_bucket(uri, suffixes)))
    try:
        if is_glob(uri):
            return tuple(sorted(_matches(uri)))
        if Path(uri).is_file():
            return (_found(uri, Path(uri).stat(), root=str(Path(uri).parent)),)
        return tuple(sorted(_walk(uri, suffixes, root=uri)))
    except OSError as error:
        raise StorageError(
            f"{uri!r} cannot be listed: {error.strerror}.", field="file_url", hint="Check that it can be read."
        ) from error


def partition_of(relative: str) -> dict[str, str | None]:
    """The ``key=value`` folders of a path relative to its root, the file's own name left out.

    >>> partition_of("day=2026-09-01/part-0.parquet")
    {'day': '2026-09-01'}
    """
    pairs = [segment.partition("=") for segment in relative.split("/")[:-1] if "=" in segment]
    return {key: None if value == HIVE_NULL else unquote(value) for key, _, value in pairs if key}


def is_data(name: str) -> bool:
    """Whether a file or folder of this name can be data."""
    return not name.startswith((".", "_"))


def _walk(folder: str, suffixes: tuple[str, ...], *, root: str) -> Iterator[Found]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if not is_data(entry.name):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, suffixes, root=root)
        elif entry.name.lower().endswith(suffixes):
            yield _found(entry.path, entry.stat(), root=root)


def _matches(pattern: str) -> Iterator[Found]:
    root = _existing(pattern) or "/"
    for path in Path(root).glob(pattern[len(root) :].lstrip("/")):
        if path.is_file() and all(map(is_data, path.relative_to(root).parts)):
            yield _found(str(path), path.stat(), root=root)


def _found(path: str, stat: os.stat_result, *, root: str) -> Found:
    return Found(path, stat.st_size, stat.st_mtime_ns, partition_of(os.path.relpath(path, root)))


def _list_bucket(uri: str, suffixes: tuple[str, ...]) -> Iterator[Found]:
    scheme, _, key = uri.partition("://")
    root = _GLOB.split(key, maxsplit=1)[0].rpartition("/")[0] if is_glob(uri) else key
    try:
        found: dict[str, dict[str, Any]] = filesystem(uri).find(root, detail=True)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(
            f"{uri!r} cannot be listed: {error}.", field="file_url", hint="Check its name and the credentials."
        ) from error
    for path, info in found.items():
        name = path.lstrip("/")
        relative = name[len(root.lstrip("/")) :].lstrip("/")
        wanted = fnmatch.fnmatchcase(name, key) if is_glob(uri) else name.lower().endswith(suffixes)
        if (wanted or name == key) and all(map(is_data, relative.split("/"))):
            yield Found(f"{scheme}://{name}", int(info["size"]), _modified_ns(info), partition_of(relative))


def filesystem(uri: str) -> Any:
    """The fsspec file system of a bucket's URI; MissingDependency names the extra that holds its driver."""
    import fsspec

    scheme = uri.partition("://")[0]
    try:
        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError:
        package = {"gs": "gcsfs", "s3": "s3fs"}.get(scheme, scheme)
        raise MissingDependency(package, extra=_EXTRAS.get(scheme, "all"), purpose=f"Listing {uri!r}") from None
    except (ValueError, TypeError) as error:  # unknown, or one that wants more than a URI
        raise InvalidArgument(
            f"{uri!r} has a scheme that is not known: {error}.", field="file_url", hint="Use a path, gs:// or s3://."
        ) from error


def _modified_ns(info: dict[str, Any]) -> int:
    """When an object was written, as its store tells it; 0 where it does not."""
    value = next((info[k] for k in ("LastModified", "updated", "last_modified", "mtime", "created") if k in info), 0)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        value = (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return int(value * 1_000_000_000)
