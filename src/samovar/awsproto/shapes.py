"""Shapes: the types of a service model, linked into a graph and ready to walk.

A model file names its shapes and refers to them by name, with traits at the reference (where a
member travels, under what name). Here each shape is one object, and each reference is either the
shape itself or a `Member` of a structure. Shapes may be recursive, so they are linked after they
have been made; nothing changes them afterwards.

The traits are those of https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html as
botocore's model files spell them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a value of a shape is."""

    STRUCTURE = "structure"
    LIST = "list"
    MAP = "map"
    STRING = "string"
    INTEGER = "integer"
    LONG = "long"
    FLOAT = "float"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    BLOB = "blob"
    TIMESTAMP = "timestamp"


class Location(StrEnum):
    """Where in an HTTP message a member travels."""

    BODY = "body"
    URI = "uri"
    QUERY = "querystring"
    HEADER = "header"
    HEADERS = "headers"
    """Every header with a prefix, as one map."""
    STATUS = "statusCode"


INT_BOUNDS = {Kind.INTEGER: 2**31, Kind.LONG: 2**63}
"""A value is in [-bound, bound)."""


@dataclass(slots=True, eq=False)
class Shape:
    """One type. Which fields mean something depends on `kind`."""

    name: str
    kind: Kind
    min: float | None = None
    max: float | None = None
    """Bounds of a number's value, or of the length of anything else."""
    pattern: str | None = None
    """A Java regular expression that the whole string must match."""
    enum: tuple[str, ...] = field(default=(), repr=False)
    sensitive: bool = False
    union: bool = False
    document: bool = False
    event_stream: bool = False
    timestamp_format: str | None = None
    members: Mapping[str, Member] = field(default_factory=dict, repr=False)
    required: tuple[str, ...] = ()
    payload: str | None = None
    """The member that is the whole body, if one is."""
    element: Shape | None = field(default=None, repr=False)
    """Of a list."""
    key: Shape | None = field(default=None, repr=False)
    value: Shape | None = field(default=None, repr=False)
    """Of a map."""

    @property
    def is_scalar(self) -> bool:
        """Whether its values hold no other values."""
        return self.kind not in (Kind.STRUCTURE, Kind.LIST, Kind.MAP)


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A reference from a structure to the shape of one of its members."""

    name: str
    shape: Shape
    location: Location
    wire_name: str
    """Its name in the body, the URI, the query or the headers; a prefix for `HEADERS`."""
    path_name: str
    """Its name in AWS's validation messages."""
    json_value: bool = False
    """A header that holds JSON in base64."""


class Shapes:
    """All shapes of one model, made from the `shapes` object of its file."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._made: dict[str, Shape] = {}

    def get(self, name: str) -> Shape:
        """Return the shape with that name, linked. Raises KeyError where there is none."""
        shape = self._made.get(name)
        return shape if shape is not None else self._make(name)

    def _make(self, name: str) -> Shape:
        definition = self._definitions[name]
        kind = definition["type"]
        shape = Shape(
            name=name,
            kind=Kind.STRING if kind == "character" else Kind(kind),
            min=definition.get("min"),
            max=definition.get("max"),
            pattern=definition.get("pattern"),
            enum=tuple(definition.get("enum", ())),
            sensitive=definition.get("sensitive", False),
            union=definition.get("union", False),
            document=definition.get("document", False),
            event_stream=definition.get("eventstream", False),
            timestamp_format=definition.get("timestampFormat"),
            required=tuple(definition.get("required", ())),
            payload=definition.get("payload"),
        )
        self._made[name] = shape
        match shape.kind:
            case Kind.STRUCTURE:
                shape.members = {
                    member: self._member(member, reference)
                    for member, reference in definition["members"].items()
                }
            case Kind.LIST:
                shape.element = self._refer(definition["member"])
            case Kind.MAP:
                shape.key = self._refer(definition["key"])
                shape.value = self._refer(definition["value"])
        return shape

    def _member(self, name: str, reference: Mapping[str, Any]) -> Member:
        return Member(
            name=name,
            shape=self._refer(reference),
            location=Location(reference.get("location", "body")),
            wire_name=reference.get("locationName", name),
            # Coral lowers the first letter and no more: KMSKeyArn becomes kMSKeyArn.
            path_name=name[:1].lower() + name[1:],
            json_value=reference.get("jsonvalue", False),
        )

    def _refer(self, reference: Mapping[str, Any]) -> Shape:
        shape = self.get(reference["shape"])
        override = reference.get("timestampFormat")
        return replace(shape, timestamp_format=override) if override else shape
