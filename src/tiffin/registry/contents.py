"""Contents as JSON: how a state of the registry travels to readers and lies in a file. Integers are exact.

::

    {"version": 12, "projects": [{"name", "created", "created_by", "archived", "archived_by"}, ...],
     "records": [{"project", "kind", "name", "revision", "deleted", "created", "updated", "hash", "spec": {...}}, ...]}
"""

from __future__ import annotations

import msgspec

from tiffin.errors import CorruptData
from tiffin.registry.base import Contents, Key, ProjectRecord, Record


class RecordDocument(msgspec.Struct, frozen=True):
    """One record; ``spec`` stays the JSON that it is."""

    project: str
    kind: str
    name: str
    revision: int
    deleted: bool
    created: int
    updated: int
    hash: str
    spec: msgspec.Raw


class ContentsDocument(msgspec.Struct, frozen=True):
    """A state, or what changed since another."""

    version: int
    projects: tuple[ProjectRecord, ...]
    records: tuple[RecordDocument, ...]


class ContentsAnswer(msgspec.Struct, frozen=True):
    """What the registry service answers to a reader, whose ``view`` it names.

    ``complete`` says that it is everything the reader may see, in place of what it held.
    """

    view: str
    complete: bool
    contents: ContentsDocument


def to_document(contents: Contents) -> ContentsDocument:
    """The contents as what is encoded."""
    return ContentsDocument(contents.version, contents.projects, tuple(map(_document, contents.records)))


def from_document(document: ContentsDocument) -> Contents:
    """The contents that a document holds."""
    return Contents(document.version, document.projects, tuple(map(_record, document.records)))


def encode(contents: Contents) -> bytes:
    """The contents as JSON."""
    return msgspec.json.encode(to_document(contents))


def decode(data: bytes) -> Contents:
    """The contents that JSON holds; CorruptData where it is not such."""
    try:
        return from_document(msgspec.json.decode(data, type=ContentsDocument))
    except msgspec.MsgspecError as error:
        raise CorruptData(f"The state of a registry cannot be read: {error}.") from error


def decode_answer(data: bytes) -> ContentsAnswer:
    """The answer that JSON holds; CorruptData where it is not such."""
    try:
        return msgspec.json.decode(data, type=ContentsAnswer)
    except msgspec.MsgspecError as error:
        raise CorruptData(f"The answer of the registry service cannot be read: {error}.") from error


def _document(record: Record) -> RecordDocument:
    return RecordDocument(
        *record.key,
        revision=record.revision,
        deleted=record.deleted,
        created=record.created,
        updated=record.updated,
        hash=record.hash,
        spec=msgspec.Raw(record.spec),
    )


def _record(document: RecordDocument) -> Record:
    return Record(
        key=Key(document.project, document.kind, document.name),
        revision=document.revision,
        deleted=document.deleted,
        created=document.created,
        updated=document.updated,
        hash=document.hash,
        spec=bytes(document.spec),
    )
