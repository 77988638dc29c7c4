"""The tables of TFLite metadata (metadata_schema.fbs, version 1.5.0): from dictionaries to a flatbuffer and back."""

from __future__ import annotations

import flatbuffers
import numpy as np
from flatbuffers.table import Table

# The fields of the schema's tables in their order, by type. A union takes two numbers: which member it is, and the
# member; of those only what segmentation uses is read.
TABLES = {
    "ModelMetadata": {
        "name": "string",
        "description": "string",
        "version": "string",
        "subgraph_metadata": "[SubGraphMetadata]",
        "author": "string",
        "license": "string",
        "associated_files": "[AssociatedFile]",
        "min_parser_version": "string",
    },
    "SubGraphMetadata": {
        "name": "string",
        "description": "string",
        "input_tensor_metadata": "[TensorMetadata]",
        "output_tensor_metadata": "[TensorMetadata]",
        "associated_files": "[AssociatedFile]",
        "input_process_units": "[ProcessUnit]",
        "output_process_units": "[ProcessUnit]",
        "input_tensor_groups": "unread",
        "output_tensor_groups": "unread",
        "custom_metadata": "[CustomMetadata]",
    },
    "TensorMetadata": {
        "name": "string",
        "description": "string",
        "dimension_names": "[string]",
        "content": "Content",
        "process_units": "[ProcessUnit]",
        "stats": "Stats",
        "associated_files": "[AssociatedFile]",
    },
    "Content": {"content_properties": "union ContentProperties", "range": "unread"},
    "ImageProperties": {"color_space": "int8"},
    "ProcessUnit": {"options": "union ProcessUnitOptions"},
    "NormalizationOptions": {"mean": "[float32]", "std": "[float32]"},
    "Stats": {"max": "[float32]", "min": "[float32]"},
    "AssociatedFile": {"name": "string", "description": "string", "type": "int8"},
    "CustomMetadata": {"name": "string", "data": "[uint8]"},
    "ImageSegmenterOptions": {"activation": "int8", "min_parser_version": "string"},  # a schema of MediaPipe's own
}
UNIONS = {"ContentProperties": {2: "ImageProperties"}, "ProcessUnitOptions": {1: "NormalizationOptions"}}


def write(table: str, values: dict, identifier: bytes) -> bytes:
    """A flatbuffer whose root is `table` with these `values`; None and missing fields are left out."""
    builder = flatbuffers.Builder()
    builder.Finish(_write_table(builder, table, values), identifier)
    return bytes(builder.Output())


def _write_table(builder: flatbuffers.Builder, table: str, values: dict) -> int:
    """The offset of a table; its parts are written before it, as flatbuffers demand."""
    fields, slot = [], 0
    for name, kind in TABLES[table].items():
        value = values.get(name)
        if kind.startswith("union"):
            if value is not None:
                (member,) = value
                number = next(n for n, known in UNIONS[kind.split()[1]].items() if known == member)
                fields += [(slot, "Uint8", number), (slot + 1, None, _write_table(builder, member, value[member]))]
            slot += 1
        elif kind == "int8":
            fields.append((slot, "Int8", value or 0))
        elif value is not None:
            fields.append((slot, None, _write_value(builder, kind, value)))
        slot += 1
    builder.StartObject(slot)
    for position, scalar, value in fields:
        if scalar is None:
            builder.PrependUOffsetTRelativeSlot(position, value, 0)
        else:
            getattr(builder, f"Prepend{scalar}Slot")(position, value, 0)
    return builder.EndObject()


def _write_value(builder: flatbuffers.Builder, kind: str, value) -> int:
    if kind == "string":
        return builder.CreateString(value)
    if kind == "[float32]":
        return builder.CreateNumpyVector(np.array(value, np.float32))
    if kind == "[uint8]":
        builder.Prep(16, len(value))  # the schema forces this alignment: a flatbuffer lies in it
        return builder.CreateByteVector(value)
    if kind.startswith("["):
        parts = [_write_value(builder, kind[1:-1], part) for part in value]
        return write_offsets(builder, parts)
    return _write_table(builder, kind, value)


def write_offsets(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    """A vector of what was written before."""
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def read(table: str, content: bytes) -> dict:
    """The fields that are there, by name. ValueError, LookupError or struct.error for damaged `content`."""
    return _read_table(table, Table(content, int.from_bytes(content[:4], "little")))


def _read_table(table: str, source: Table) -> dict:
    found, slot = {}, 0
    for name, kind in TABLES[table].items():
        offset = source.Offset(4 + 2 * slot)
        if kind.startswith("union"):
            member = UNIONS[kind.split()[1]].get(source.Bytes[source.Pos + offset] if offset else 0)
            slot += 1
            if member:
                position = source.Pos + source.Offset(4 + 2 * slot)
                found[name] = {member: _read_table(member, Table(source.Bytes, source.Indirect(position)))}
        elif offset and kind != "unread":
            found[name] = _read_value(kind, source, source.Pos + offset)
        slot += 1
    return found


def _read_value(kind: str, source: Table, position: int):
    if kind == "int8":
        return int(np.frombuffer(source.Bytes, np.int8, 1, position)[0])
    if kind == "string":
        return source.String(position).decode()
    if kind.startswith("["):
        start, part = source.Indirect(position) + 4, kind[1:-1]
        count = int(np.frombuffer(source.Bytes, np.uint32, 1, start - 4)[0])
        if part in ("float32", "uint8"):
            return np.frombuffer(source.Bytes, part, count, start).tolist()
        return [_read_value(part, source, start + 4 * i) for i in range(count)]
    return _read_table(kind, Table(source.Bytes, source.Indirect(position)))
