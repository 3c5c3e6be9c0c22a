"""Finds what is wrong with a message that protobuf refuses to parse.

The library says only that parsing failed. A caller who sent text in another encoding needs to know which field it was.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def malformed_field(descriptor: Descriptor, data: bytes) -> str:
    """Return the path of the first string field that is no UTF-8, or `request` where the wire format is broken."""
    try:
        return _scan(descriptor, data) or "request"
    except (IndexError, ValueError):
        return "request"


def _scan(descriptor: Descriptor, data: bytes) -> str | None:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            _, position = _varint(data, position)
        elif wire_type == _FIXED64:
            position += 8
        elif wire_type == _FIXED32:
            position += 4
        elif wire_type == _LENGTH:
            length, position = _varint(data, position)
            value, position = data[position : position + length], position + length
            field = descriptor.fields_by_number.get(number)
            if (found := _inspect(field, value)) is not None:
                return found
        else:
            raise ValueError(f"wire type {wire_type}")
    return None


def _inspect(field: FieldDescriptor | None, value: bytes) -> str | None:
    if field is None:
        return None
    if field.type == FieldDescriptor.TYPE_STRING:
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            return str(field.name)
    elif field.message_type is not None and (inner := _scan(field.message_type, value)) is not None:
        return f"{field.name}.{inner}"
    return None


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if not byte & 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")
