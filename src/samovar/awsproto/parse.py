"""A request's parts become the operation's parameters: values of Python, by member name.

| shape | value |
|---|---|
| string | str |
| integer, long | int |
| float, double | float |
| boolean | bool |
| blob | bytes: decoded from base64, or the raw body where it is the payload |
| timestamp | datetime with a zone |
| list, map, structure | list, dict, dict; a document is whatever its JSON says |

Members that are absent or null are left out. A null inside a list or map stays, as None, for
`validate` to refuse. Members that the model does not have are ignored, as AWS does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samovar.awsproto import coerce
from samovar.awsproto.jsonbody import decode, decode_object, serialization_error
from samovar.awsproto.operation import Match, Message
from samovar.awsproto.router import Query
from samovar.awsproto.shapes import Kind, Location, Member, Shape


def parse_request(
    match: Match, query: Query, headers: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    """Return an operation's parameters.

    `query` values are percent-decoded; header names may be of any case. Raises SERIALIZATION where
    something cannot be read. Constraints are `validate`'s work.
    """
    message = match.operation.input
    if message is None:
        return {}
    params: dict[str, Any] = {}
    for member in message.uri:
        params[member.name] = coerce.from_text(
            member.shape, match.path_params[member.wire_name], Location.URI
        )
    for member in message.query:
        _put(params, member, _from_query(member, query, message.query))
    if message.header or message.headers:
        lowered = {name.lower(): value for name, value in headers.items()}
        for member in message.header:
            _put(params, member, _from_header(member, lowered))
        for member in message.headers:
            _put(params, member, _from_prefix(member, headers))
    _parse_body(message, body, params)
    return params


def from_json(shape: Shape, value: Any) -> Any:
    """Return a value of `shape` from decoded JSON. Raises SERIALIZATION."""
    if shape.document:
        return value
    match shape.kind:
        case Kind.STRUCTURE:
            return _structure(shape, value)
        case Kind.LIST:
            assert shape.element is not None
            if not isinstance(value, list):
                raise serialization_error("Expected list or null")
            element = shape.element
            return [None if item is None else from_json(element, item) for item in value]
        case Kind.MAP:
            assert shape.value is not None
            if not isinstance(value, dict):
                raise _not_an_object(value)
            of = shape.value
            return {k: None if item is None else from_json(of, item) for k, item in value.items()}
        case _:
            return coerce.from_json(shape, value)


def _structure(shape: Shape, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _not_an_object(value)
    params = _members(tuple(shape.members.values()), value)
    if shape.union and len(params) != 1:
        raise serialization_error(f"Exactly one member of union {shape.name} must be set")
    return params


def _members(members: Sequence[Member], value: Mapping[str, Any]) -> dict[str, Any]:
    params = {}
    for member in members:
        item = value.get(member.wire_name)
        if item is not None:
            params[member.name] = from_json(member.shape, item)
    return params


def _not_an_object(value: object) -> Exception:
    if isinstance(value, list):
        return serialization_error("Start of list found where not expected")
    return serialization_error("Expected null")


def _parse_body(message: Message, body: bytes, params: dict[str, Any]) -> None:
    payload = message.payload
    if payload is None:
        if message.body:
            params.update(_members(message.body, decode_object(body)))
        return
    if not body:
        return
    match payload.shape.kind:
        case Kind.BLOB:
            params[payload.name] = body
        case Kind.STRING:
            try:
                params[payload.name] = body.decode()
            except UnicodeDecodeError as error:
                raise serialization_error("The request body is not UTF-8") from error
        case _:
            _put(params, payload, _not_null(payload.shape, decode(body)))


def _not_null(shape: Shape, value: Any) -> Any:
    return None if value is None else from_json(shape, value)


def _from_query(member: Member, query: Query, known: Sequence[Member]) -> Any:
    shape = member.shape
    if shape.kind is Kind.MAP:
        return _rest_of_query(shape, query, known) or None
    values = query.get(member.wire_name)
    if not values:
        return None
    if shape.kind is Kind.LIST:
        assert shape.element is not None
        return [coerce.from_text(shape.element, value, Location.QUERY) for value in values]
    return coerce.from_text(shape, values[0], Location.QUERY)


def _rest_of_query(shape: Shape, query: Query, known: Sequence[Member]) -> dict[str, Any]:
    # A map in the query holds every parameter that no other member names.
    taken = {member.wire_name for member in known if member.shape.kind is not Kind.MAP}
    of = shape.value
    assert of is not None
    rest = {name: values for name, values in query.items() if name not in taken and values}
    if of.kind is Kind.LIST and of.element is not None:
        element = of.element
        return {
            name: [coerce.from_text(element, value, Location.QUERY) for value in values]
            for name, values in rest.items()
        }
    return {name: coerce.from_text(of, values[0], Location.QUERY) for name, values in rest.items()}


def _from_header(member: Member, lowered: Mapping[str, str]) -> Any:
    text = lowered.get(member.wire_name.lower())
    if text is None:
        return None
    if member.json_value:
        return decode(coerce.blob(text))
    shape = member.shape
    if shape.kind is Kind.LIST:
        assert shape.element is not None
        element = shape.element
        return [coerce.from_text(element, item.strip(), Location.HEADER) for item in _split(text)]
    return coerce.from_text(shape, text, Location.HEADER)


def _split(text: str) -> list[str]:
    # A quoted item may hold a comma; `\\` escapes within quotes.
    items, current, quoted, escaped = [], "", False, False
    for character in text:
        if escaped:
            current, escaped = current + character, False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            items.append(current)
            current = ""
        else:
            current += character
    return [*items, current]


def _from_prefix(member: Member, headers: Mapping[str, str]) -> dict[str, str] | None:
    prefix = member.wire_name.lower()
    found = {
        name[len(prefix) :]: value
        for name, value in headers.items()
        if name.lower().startswith(prefix)
    }
    return found or None


def _put(params: dict[str, Any], member: Member, value: Any) -> None:
    if value is not None:
        params[member.name] = value
