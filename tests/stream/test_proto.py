"""Messages of Protobuf, of classes that can be imported and of descriptor sets."""

from __future__ import annotations

import datetime
import struct
from base64 import b64encode
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from google.protobuf import struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tests.stream.test_decode import messages, reasons
from tiffin.data_format import ProtoFormat
from tiffin.errors import InvalidDefinition, Unsupported
from tiffin.stream.decode import Decoded, decoder
from tiffin.stream.proto_types import message_class

SCALARS = {
    "i32": (Field.TYPE_SINT32, -5, pl.Int32),
    "i64": (Field.TYPE_INT64, -(2**63), pl.Int64),
    "u32": (Field.TYPE_UINT32, 2**32 - 1, pl.UInt32),
    "u64": (Field.TYPE_FIXED64, 2**64 - 1, pl.UInt64),
    "f": (Field.TYPE_FLOAT, 0.5, pl.Float32),
    "d": (Field.TYPE_DOUBLE, 0.1, pl.Float64),
    "b": (Field.TYPE_BOOL, True, pl.Boolean),
    "s": (Field.TYPE_STRING, "äö", pl.String),
    "raw": (Field.TYPE_BYTES, b"\xff", pl.Binary),
}


def _add(message: Any, name: str, kind: Any, type_name: str | None = None, **more: Any) -> Any:
    label = more.pop("label", Field.LABEL_OPTIONAL)
    return message.field.add(
        name=name, number=len(message.field) + 1, type=kind, type_name=type_name, label=label, **more
    )


def described() -> FileDescriptorSet:
    """A proto3 file, a proto2 file, and what they stand on."""
    three = FileDescriptorProto(name="three.proto", package="rides", syntax="proto3")
    three.dependency.extend(["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"])
    enum = three.enum_type.add(name="Kind")
    enum.value.add(name="UNKNOWN", number=0)
    enum.value.add(name="TAXI", number=1)
    place = three.message_type.add(name="Place")
    _add(place, "lat", Field.TYPE_DOUBLE)
    _add(place, "inner", Field.TYPE_MESSAGE, ".rides.Place")
    ride = three.message_type.add(name="Ride")
    for name, (kind, _, _) in SCALARS.items():
        _add(ride, name, kind)
    ride.oneof_decl.add(name="_maybe")
    _add(ride, "maybe", Field.TYPE_INT64, proto3_optional=True, oneof_index=0)
    _add(ride, "kind", Field.TYPE_ENUM, ".rides.Kind")
    _add(ride, "at", Field.TYPE_MESSAGE, ".google.protobuf.Timestamp")
    _add(ride, "score", Field.TYPE_MESSAGE, ".google.protobuf.DoubleValue")
    _add(ride, "place", Field.TYPE_MESSAGE, ".rides.Place")
    _add(ride, "xs", Field.TYPE_DOUBLE, label=Field.LABEL_REPEATED)
    _add(ride, "kinds", Field.TYPE_ENUM, ".rides.Kind", label=Field.LABEL_REPEATED)
    _add(ride, "times", Field.TYPE_MESSAGE, ".google.protobuf.Timestamp", label=Field.LABEL_REPEATED)
    _add(ride, "places", Field.TYPE_MESSAGE, ".rides.Place", label=Field.LABEL_REPEATED)
    entry = ride.nested_type.add(name="CountsEntry")
    entry.options.map_entry = True
    _add(entry, "key", Field.TYPE_STRING)
    _add(entry, "value", Field.TYPE_INT64)
    _add(ride, "counts", Field.TYPE_MESSAGE, ".rides.Ride.CountsEntry", label=Field.LABEL_REPEATED)
    two = FileDescriptorProto(name="two.proto", package="rides", syntax="proto2")
    old = two.message_type.add(name="Old")
    _add(old, "id", Field.TYPE_INT64, label=Field.LABEL_REQUIRED)
    _add(old, "plain", Field.TYPE_INT32)
    _add(old, "given", Field.TYPE_INT32, default_value="5")
    _add(old, "text", Field.TYPE_STRING)
    files = FileDescriptorSet()
    files.file.extend([two, three])  # what a file needs may come after it
    for module in (timestamp_pb2, wrappers_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    return files


TEXT = b64encode(described().SerializeToString()).decode()
RIDE = ProtoFormat("rides.Ride", TEXT)
OLD = ProtoFormat("rides.Old", TEXT)


def decoded(form: ProtoFormat, *values: bytes, **options: Any) -> Decoded:
    return decoder(form, **options).decode(messages(*values))


def test_scalars_have_their_types() -> None:
    message = message_class(RIDE)(**{name: value for name, (_, value, _) in SCALARS.items()})
    frame = decoded(RIDE, message.SerializeToString(), b"").frame
    for name, (_, value, dtype) in SCALARS.items():
        assert frame.schema[name] == dtype
        assert frame[name][0] == value
        assert frame[name][1] == type(value)(), "what does not tell whether it was set always has a value"


def test_what_tells_whether_it_was_set_is_null_where_it_was_not() -> None:
    ride: Any = message_class(RIDE)
    full = ride(maybe=0, kind=1, xs=[1.5, 2.5], kinds=[1, 0])
    full.at.FromDatetime(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    full.score.value = 0.0
    full.place.lat = 0.0
    full.place.SetInParent()
    full.times.add().FromSeconds(1)
    frame = decoded(RIDE, full.SerializeToString(), b"").frame
    names = ["maybe", "kind", "at", "score", "place.lat", "xs", "kinds"]
    assert [frame[name].to_list() for name in names] == [
        [0, None],
        ["TAXI", "UNKNOWN"],
        [datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), None],
        [0.0, None],
        [0.0, None],
        [[1.5, 2.5], []],
        [["TAXI", "UNKNOWN"], []],
    ]
    assert frame.schema["times"] == pl.List(pl.Datetime("us", "UTC"))


def test_times_are_rounded_up_and_those_that_are_none_fail_alone() -> None:
    ride: Any = message_class(RIDE)
    values = []
    for seconds, nanos in ((1, 1), (-1, 999_999_001), (10**17, 0), (0, 10**9)):
        message = ride()
        message.at.seconds, message.at.nanos = seconds, nanos
        values.append(message.SerializeToString())
    found = decoded(RIDE, *values)
    assert found.frame["at"].to_physical().to_list() == [1_000_001, 0]
    assert list(reasons(found)) == [2, 3]
    assert "years" in reasons(found)[2]


def test_a_number_that_the_enum_does_not_have_fails_alone() -> None:
    ride: Any = message_class(RIDE)
    found = decoded(RIDE, ride(kind=1).SerializeToString(), ride(kind=7).SerializeToString(), b"")
    assert found.frame["kind"].to_list() == ["TAXI", "UNKNOWN"]
    assert "number 7" in reasons(found)[1]


def test_messages_of_the_older_syntax() -> None:
    old: Any = message_class(OLD)
    full = old(id=1, plain=2, given=3, text="a")
    found = decoded(OLD, full.SerializeToString(), old(id=2).SerializeToString(), b"", b"\x08\x01\x22\x01\xff")
    rows = found.frame.to_dicts()
    assert rows[:2] == [
        {"id": 1, "plain": 2, "given": 3, "text": "a"},
        {"id": 2, "plain": None, "given": 5, "text": None},
    ]
    assert "id" in reasons(found)[2]
    assert 3 in reasons(found)


@pytest.mark.parametrize("value", [b"\x08", b"\xff" * 11, b"\x42\x05ab", b"\x42\x01\xff", b"\x07", b"\x08\x80"])
def test_broken_bytes_fail_alone(value: bytes) -> None:
    good = message_class(RIDE)(i32=4).SerializeToString()
    found = decoded(RIDE, good, value, good)
    assert found.frame["i32"].to_list() == [4, 4]
    assert list(reasons(found)) == [1]


def test_what_no_column_can_hold_is_refused_where_it_is_used() -> None:
    for name, reason in (("counts", "map"), ("places", "messages"), ("place.inner", "contains itself")):
        with pytest.raises(Unsupported, match=reason):
            decoder(RIDE, columns=["i32", name])
    assert decoded(RIDE, b"", columns=["i32", "place.lat"]).frame.columns == ["i32", "place.lat"]


def test_a_class_that_can_be_imported() -> None:
    value = wrappers_pb2.Int64Value(value=5).SerializeToString()
    assert decoded(ProtoFormat("google.protobuf.wrappers_pb2.Int64Value"), value).frame["value"].to_list() == [5]
    with pytest.raises(Unsupported):
        decoder(ProtoFormat("google.protobuf.struct_pb2.Struct"), columns=["fields"])
    assert struct_pb2.Struct.DESCRIPTOR.full_name == "google.protobuf.Struct"


def test_a_descriptor_set_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "set.desc"
    path.write_bytes(described().SerializeToString())
    value = message_class(OLD)(id=3).SerializeToString()
    for text in (str(path), path.as_uri()):
        assert decoded(ProtoFormat("rides.Old", text), value).frame["id"].to_list() == [3]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (ProtoFormat("Nothing"), "names no module"),
        (ProtoFormat("no_such_module_pb2.M"), "cannot be imported"),
        (ProtoFormat("google.protobuf.wrappers_pb2.Int64"), "Int64Value"),
        (ProtoFormat("json.JSONDecoder"), "no message"),
        (ProtoFormat("rides.Rid", TEXT), "rides.Ride"),
        (ProtoFormat("rides.Ride", "?"), "neither base64"),
        (ProtoFormat("rides.Ride", b64encode(struct.pack("<Q", 2**63)).decode()), "neither base64"),
    ],
)
def test_a_format_that_cannot_be_used_is_told(form: ProtoFormat, words: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        decoder(form)
    assert words in str(caught.value)


def test_a_set_without_what_it_needs() -> None:
    files = described()
    del files.file[2:]
    text = b64encode(files.SerializeToString()).decode()
    with pytest.raises(InvalidDefinition, match="not complete"):
        decoder(ProtoFormat("rides.Ride", text))
