"""Values for the shapes of a botocore model, and a request as botocore sends it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.awsrequest import prepare_request_dict
from botocore.config import Config
from botocore.endpoint import create_request_object
from botocore.loaders import Loader
from botocore.model import (
    ListShape,
    MapShape,
    OperationModel,
    Shape,
    StringShape,
    StructureShape,
)
from botocore.model import ServiceModel as BotocoreModel
from botocore.serialize import create_serializer
from hypothesis import strategies as st

from samovar.awsproto import pattern

SERVICES = ("lambda", "lambda-core", "lambda-microvms", "lambda-web")
MAX_DEPTH = 5

CHARACTERS = st.characters(codec="utf-8")
HEADER_CHARACTERS = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
TIMES = st.integers(0, 4_000_000_000).map(lambda s: dt.datetime.fromtimestamp(s, dt.UTC))


@cache
def botocore_model(service: str) -> BotocoreModel:
    return BotocoreModel(Loader().load_service_model(service, "service-2"), service)


def operations() -> list[tuple[str, str]]:
    return [
        (service, name) for service in SERVICES for name in botocore_model(service).operation_names
    ]


@dataclass(frozen=True)
class Sent:
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


def send(operation: OperationModel, params: Mapping[str, Any]) -> Sent:
    """Return what botocore puts on the wire; it validates `params` first."""
    request_dict = create_serializer("rest-json").serialize_to_request(params, operation)
    prepare_request_dict(request_dict, "http://localhost", context={"client_config": Config()})
    prepared = create_request_object(request_dict).prepare()
    url = urlsplit(prepared.url)
    body = prepared.body or b""
    return Sent(
        method=prepared.method,
        path=url.path,
        query=parse_qs(url.query, keep_blank_values=True),
        headers=dict(prepared.headers.items()),
        body=body.encode() if isinstance(body, str) else bytes(body),
    )


def results(operation: OperationModel) -> st.SearchStrategy[dict[str, Any]]:
    """What an operation may return: any members. Nobody checks constraints on the way out."""
    shape = operation.output_shape
    members = {
        name: st.sampled_from([200, 202])
        if member.serialization.get("location") == "statusCode"
        else values(member, 1, keep_patterns=False)
        for name, member in shape.members.items()
    }
    payload = shape.serialization.get("payload")
    always = {payload: members.pop(payload)} if payload else {}
    return st.fixed_dictionaries(always, optional=members)


def inputs(operation: OperationModel) -> st.SearchStrategy[dict[str, Any]]:
    """Valid parameters, from just the required ones to all."""
    if operation.input_shape is None:
        return st.just({})
    return structures(operation.input_shape, 0, True)


def structures(
    shape: StructureShape, depth: int, keep_patterns: bool
) -> st.SearchStrategy[dict[str, Any]]:
    required, optional = {}, {}
    for name, member in shape.members.items():
        if getattr(shape, "is_tagged_union", False):
            continue
        if name in shape.required_members or member.serialization.get("location") == "uri":
            required[name] = values(member, depth + 1, keep_patterns)
        elif depth < MAX_DEPTH:
            optional[name] = values(member, depth + 1, keep_patterns)
    if getattr(shape, "is_tagged_union", False):
        return st.one_of(
            [
                st.fixed_dictionaries({name: values(member, depth + 1, keep_patterns)})
                for name, member in shape.members.items()
            ]
        )
    return st.fixed_dictionaries(required, optional=optional)


def values(shape: Shape, depth: int, keep_patterns: bool = True) -> st.SearchStrategy[Any]:
    """Values that keep the constraints of a shape, as its place in the message allows."""
    place = shape.serialization.get("location", "body")
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    match shape:
        case StructureShape():
            return st.deferred(lambda: structures(shape, depth, keep_patterns))
        case ListShape():
            return lists(shape, depth, place, keep_patterns)
        case MapShape():
            size = max(low or 0, 0)
            return st.dictionaries(
                values(shape.key, depth + 1, keep_patterns),
                values(shape.value, depth + 1, keep_patterns),
                min_size=size,
                max_size=max(size, 2),
            )
        case StringShape():
            return strings(shape, place, keep_patterns)
    match shape.type_name:
        case "integer" | "long":
            bits = 31 if shape.type_name == "integer" else 63
            return st.integers(
                -(2**bits) if low is None else low, 2**bits - 1 if high is None else high
            )
        case "float" | "double":
            return st.floats(
                -1e9 if low is None else low, 1e9 if high is None else high, allow_nan=False
            )
        case "boolean":
            return st.booleans()
        case "blob":
            return st.binary(min_size=max(1, low or 0), max_size=20)
        case "timestamp":
            return TIMES
    raise AssertionError(shape.type_name)


def lists(
    shape: ListShape, depth: int, place: str, keep_patterns: bool
) -> st.SearchStrategy[list[Any]]:
    # A query cannot tell an empty list from none.
    size = max(shape.metadata.get("min", 0), 1 if place == "querystring" else 0)
    if depth >= MAX_DEPTH and size == 0:
        return st.just([])
    limit = min(shape.metadata.get("max", 2), size + 2)
    return st.lists(
        values(shape.member, depth + 1, keep_patterns), min_size=size, max_size=max(size, limit)
    )


def strings(shape: StringShape, place: str, keep_patterns: bool) -> st.SearchStrategy[str]:
    if shape.enum:
        return st.sampled_from(list(shape.enum))
    low = max(shape.metadata.get("min", 0), 1 if place == "uri" else 0)
    high = shape.metadata.get("max", low + 20)
    characters = HEADER_CHARACTERS if place in {"header", "uri"} else CHARACTERS
    java = shape.metadata.get("pattern")
    if java is None or not keep_patterns:
        return st.text(characters, min_size=low, max_size=min(high, low + 20))
    return (
        of_pattern(java, characters)
        .map(lambda text: stretch(text, low, java))
        .filter(lambda text: low <= len(text) <= high)
    )


@cache
def of_pattern(java: str, characters: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    if "\\p{" in java:
        # Hypothesis takes minutes over a class of a hundred thousand characters.
        return st.text("aZé漢0٣ _.:/=+-@").filter(lambda text: pattern.matches(java, text))
    return st.from_regex(pattern.compiled(java), fullmatch=True, alphabet=characters)


def stretch(text: str, low: int, java: str) -> str:
    """Make a string as long as it has to be, where repeating its end keeps the pattern."""
    longer = text + text[-1:] * (low - len(text))
    return longer if pattern.matches(java, longer) else text
