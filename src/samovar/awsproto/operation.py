"""An operation of a service: how its requests and responses look over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from samovar.awsproto.shapes import Location, Member, Shape, Shapes


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """An input or output shape, with its members sorted by where they travel."""

    shape: Shape
    payload: Member | None
    """The member that is the whole body."""
    body: tuple[Member, ...]
    """Members of the JSON object that the body is, where there is no `payload`."""
    uri: tuple[Member, ...]
    query: tuple[Member, ...]
    header: tuple[Member, ...]
    headers: tuple[Member, ...]
    status: Member | None

    @classmethod
    def of(cls, shape: Shape) -> Message:
        """Sort the members of a structure."""

        def at(location: Location) -> tuple[Member, ...]:
            return tuple(m for m in shape.members.values() if m.location is location)

        payload = shape.members[shape.payload] if shape.payload else None
        return cls(
            shape=shape,
            payload=payload,
            body=() if payload else at(Location.BODY),
            uri=at(Location.URI),
            query=at(Location.QUERY),
            header=at(Location.HEADER),
            headers=at(Location.HEADERS),
            status=next(iter(at(Location.STATUS)), None),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation, e.g. `CreateFunction`."""

    name: str
    method: str
    uri: str
    """The template: `/2015-03-31/functions/{FunctionName}`, with a query where one is fixed."""
    status: int
    """Of a response whose output has no status member."""
    input: Message | None = field(repr=False)
    output: Message | None = field(repr=False)
    errors: tuple[str, ...] = field(repr=False)
    """Names of the modelled errors."""

    @classmethod
    def of(cls, definition: Mapping[str, Any], shapes: Shapes) -> Operation:
        """Make one from its definition in a model file."""

        def message(part: str) -> Message | None:
            return Message.of(shapes.get(definition[part]["shape"])) if part in definition else None

        http = definition["http"]
        return cls(
            name=definition["name"],
            method=http["method"],
            uri=http["requestUri"],
            status=http.get("responseCode", 200),
            input=message("input"),
            output=message("output"),
            errors=tuple(error["shape"] for error in definition.get("errors", ())),
        )


@dataclass(frozen=True, slots=True)
class Match:
    """What a request's method, path and query amount to."""

    operation: Operation
    path_params: dict[str, str]
    """Label → value, percent-decoded."""
