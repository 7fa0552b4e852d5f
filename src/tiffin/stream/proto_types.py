"""Types of Protobuf messages: classes that can be imported, or descriptions in a file, which run no code of anybody."""

from __future__ import annotations

from base64 import b64decode
from importlib import import_module
from typing import Final

import fsspec
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from tiffin.definitions.format import ProtoFormat
from tiffin.errors import InvalidDefinition, closest

MessageClass = type[Message]

#: How much of a set an error shows.
_SHOWN: Final = 80


def message_class(form: ProtoFormat) -> MessageClass:
    """The class of a format's messages."""
    return _described(form.class_path, form.descriptor_set) if form.descriptor_set else _imported(form.class_path)


def _imported(path: str) -> MessageClass:
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise InvalidDefinition(
            f"ProtoFormat {path!r} names no module.",
            field="class_path",
            hint="Write package.module_pb2.Message, or name a descriptor set.",
        )
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise InvalidDefinition(
            f"ProtoFormat {path!r}: the module {module_name!r} cannot be imported: {error}.",
            field="class_path",
            hint="Install the package that has it where the stream runs, or name a descriptor set.",
        ) from error
    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Message)):
        names = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, Message)]
        raise InvalidDefinition(
            f"ProtoFormat {path!r}: {module_name!r} has no message {name!r}.",
            field="class_path",
            hint=closest(name, names),
        )
    return found


def _described(name: str, text: str) -> MessageClass:
    files = _files(text)
    pool = DescriptorPool()
    left = {file.name: file for file in files.file}
    try:
        while left:
            ready = [file for file in left.values() if not any(other in left for other in file.dependency)]
            for file in ready:
                pool.Add(file)
                del left[file.name]
            if not ready:
                raise InvalidDefinition("The descriptor set has files that need each other.", field="descriptor_set")
        found = pool.FindMessageTypeByName(name)
    except TypeError as error:
        raise InvalidDefinition(
            f"The descriptor set is not complete: {error}.",
            field="descriptor_set",
            hint="Write it with protoc --include_imports.",
        ) from error
    except KeyError:
        names = [".".join(filter(None, (file.package, kind.name))) for file in files.file for kind in file.message_type]
        raise InvalidDefinition(
            f"The descriptor set has no message {name!r}.", field="class_path", hint=closest(name, names)
        ) from None
    return GetMessageClass(found)


def _files(text: str) -> FileDescriptorSet:
    """The set in base64, or at a path or URI."""
    files = _encoded(text)
    if files is not None:
        return files
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    try:
        with fsspec.open(text, "rb") as file:
            files = FileDescriptorSet.FromString(file.read())
    except (OSError, ValueError, DecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InvalidDefinition(
            f"The descriptor set {shown!r} is neither base64 of one, nor a file that can be read: {reason}.",
            field="descriptor_set",
            hint="Write it with protoc --include_imports --descriptor_set_out=FILE.",
        ) from error
    if not files.file:
        raise InvalidDefinition(f"The descriptor set {shown!r} is empty.", field="descriptor_set")
    return files


def _encoded(text: str) -> FileDescriptorSet | None:
    """The set that a text is in base64; None where it is none."""
    try:
        files = FileDescriptorSet.FromString(b64decode(text, validate=True))
    except (ValueError, DecodeError):
        return None
    return files if files.file else None
