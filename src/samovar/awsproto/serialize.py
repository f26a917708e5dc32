"""An operation's result becomes a response: status, headers and body, as the model has them.

A result is a mapping of member names to values of Python, of the same types that `parse` makes;
`None` means absent. Results are ours, not a client's: one that does not fit its shape is a defect,
and raises TypeError or ValueError that say where.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from samovar.awsproto import timestamps
from samovar.awsproto.operation import Message, Operation
from samovar.awsproto.shapes import Kind, Location, Member, Shape
from samovar.awsproto.timestamps import Format

JSON_TYPE = ("Content-Type", "application/json")
BINARY_TYPE = ("Content-Type", "application/octet-stream")
TEXT_TYPE = ("Content-Type", "text/plain; charset=utf-8")
EVENT_STREAM_TYPE = ("Content-Type", "application/vnd.amazon.eventstream")

NO_BODY = frozenset({204, 304})
"""Statuses whose responses have no body: https://www.rfc-editor.org/rfc/rfc9110#section-6.4.1"""

PYTHON_TYPES: Mapping[Kind, type | tuple[type, ...]] = {
    Kind.STRING: str,
    Kind.INTEGER: int,
    Kind.LONG: int,
    Kind.FLOAT: (float, int),
    Kind.DOUBLE: (float, int),
    Kind.BOOLEAN: bool,
    Kind.BLOB: (bytes, bytearray, memoryview),
    Kind.TIMESTAMP: dt.datetime,
    Kind.LIST: (list, tuple),
    Kind.MAP: Mapping,
    Kind.STRUCTURE: Mapping,
}

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Response:
    """What goes over HTTP. `Content-Length` is the server's to add."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def serialize_response(operation: Operation, result: Mapping[str, Any]) -> Response:
    """Return the response to a request that went well.

    Where the output is an event stream, the body is left empty for the caller to stream.
    """
    message = operation.output
    if message is None:
        if result:
            raise ValueError(f"{operation.name} has no output")
        return Response(operation.status, [], b"")
    _check_names(message.shape, result, operation.name)
    status = operation.status
    if message.status is not None and result.get(message.status.name) is not None:
        status = int(result[message.status.name])
    headers = response_headers(message, result)
    content_type, body = _body(message, result)
    if status in NO_BODY:
        return Response(status, headers, b"")
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(content_type)
    return Response(status, headers, body)


def response_headers(message: Message, result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the headers that a message's members travel in."""
    headers = []
    for member in message.header:
        value = result.get(member.name)
        if value is not None:
            headers.append((member.wire_name, _header_text(member, value)))
    for member in message.headers:
        for name, value in (result.get(member.name) or {}).items():
            headers.append((member.wire_name + name, _clean(value, member.name)))
    return headers


def to_json(shape: Shape, value: Any, path: str) -> Any:
    """Return a value as JSON has it, checked against its shape; `path` is for the error."""
    if shape.document:
        return value
    _check_type(shape, value, path)
    match shape.kind:
        case Kind.STRUCTURE:
            _check_names(shape, value, path)
            return members_to_json(tuple(shape.members.values()), value, path)
        case Kind.LIST:
            assert shape.element is not None
            element = shape.element
            return [to_json(element, item, path) for item in value]
        case Kind.MAP:
            assert shape.value is not None
            of = shape.value
            return {key: to_json(of, item, f"{path}.{key}") for key, item in value.items()}
        case Kind.BLOB:
            return base64.b64encode(value).decode("ascii")
        case Kind.TIMESTAMP:
            form = timestamps.format_of(shape, Location.BODY)
            if form is Format.EPOCH:
                return timestamps.to_number(value)
            return timestamps.to_text(value, form)
        case _:
            return value


def members_to_json(
    members: tuple[Member, ...], value: Mapping[str, Any], path: str
) -> dict[str, Any]:
    """Return the JSON object of those members that are there."""
    found = {}
    for member in members:
        item = value.get(member.name)
        if item is not None:
            found[member.wire_name] = to_json(member.shape, item, f"{path}.{member.name}")
    return found


def _body(message: Message, result: Mapping[str, Any]) -> tuple[tuple[str, str], bytes]:
    payload = message.payload
    if payload is None:
        return JSON_TYPE, encode(members_to_json(message.body, result, message.shape.name))
    if payload.shape.event_stream:
        return EVENT_STREAM_TYPE, b""
    value = result.get(payload.name)
    path = f"{message.shape.name}.{payload.name}"
    match payload.shape.kind:
        case Kind.BLOB:
            if value is not None:
                _check_type(payload.shape, value, path)
            return BINARY_TYPE, bytes(value) if value is not None else b""
        case Kind.STRING:
            return TEXT_TYPE, (value or "").encode()
        case _:
            return JSON_TYPE, encode(to_json(payload.shape, value, path)) if value else b"{}"


def _header_text(member: Member, value: Any) -> str:
    shape = member.shape
    if member.json_value:
        return base64.b64encode(encode(value)).decode("ascii")
    _check_type(shape, value, member.name)
    if shape.kind is Kind.LIST:
        assert shape.element is not None
        return ", ".join(_scalar_text(shape.element, item, member.name) for item in value)
    return _scalar_text(shape, value, member.name)


def _scalar_text(shape: Shape, value: Any, path: str) -> str:
    _check_type(shape, value, path)
    match shape.kind:
        case Kind.BOOLEAN:
            return "true" if value else "false"
        case Kind.TIMESTAMP:
            return timestamps.to_text(value, timestamps.format_of(shape, Location.HEADER))
        case Kind.BLOB:
            return base64.b64encode(value).decode("ascii")
        case _:
            return _clean(str(value), path)


def _clean(text: str, path: str) -> str:
    # A line break in a value would begin another header, or the body.
    if any(character in text for character in "\r\n\0"):
        raise ValueError(f"{path}: a header cannot hold a line break")
    return text


def _check_names(shape: Shape, value: Mapping[str, Any], path: str) -> None:
    if not value.keys() <= shape.members.keys():
        unknown = ", ".join(sorted(value.keys() - shape.members.keys()))
        raise ValueError(f"{path}: {shape.name} has no {unknown}")


def _check_type(shape: Shape, value: Any, path: str) -> None:
    # A bool is an int to Python, and neither an integer nor a float to the model.
    if not isinstance(value, PYTHON_TYPES[shape.kind]) or (
        isinstance(value, bool) is not (shape.kind is Kind.BOOLEAN)
    ):
        raise TypeError(f"{path}: {shape.kind} expected, not {type(value).__name__}")
