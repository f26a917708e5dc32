"""Whatever a client sends, the answer is a value or a PlatformError, and comes soon."""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samovar.awsproto import ServiceModel, parse_request, validate
from samovar.awsproto import pattern as java
from samovar.awsproto.jsonbody import decode
from samovar.awsproto.operation import Message, Operation
from samovar.awsproto.shapes import Kind, Shape
from samovar.model.errors import PlatformError
from tests.unit.awsproto_strategies import SERVICES, botocore_model, operations

SETTINGS = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["arn:aws:lambda:us-east-1:000000000000:function:f", "$LATEST", "\n", "%00"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
TEXT = st.one_of(
    st.text(max_size=30), st.integers().map(str), st.floats().map(str), st.dates().map(str)
)


def like(shape: Shape, depth: int = 0) -> st.SearchStrategy[Any]:
    """JSON in the likeness of a shape, wrong in places."""
    if depth > 4 or shape.kind not in (Kind.STRUCTURE, Kind.LIST, Kind.MAP):
        return JSON
    if shape.kind is Kind.STRUCTURE:
        members = {
            member.wire_name: like(member.shape, depth + 1) for member in shape.members.values()
        }
        return st.one_of(JSON, st.fixed_dictionaries({}, optional=members))
    if shape.kind is Kind.LIST:
        assert shape.element is not None
        return st.one_of(JSON, st.lists(like(shape.element, depth + 1), max_size=3))
    assert shape.value is not None
    return st.one_of(
        JSON, st.dictionaries(st.text(max_size=5), like(shape.value, depth + 1), max_size=3)
    )


def path_of(operation: Operation, draw: Any) -> str:
    segments = operation.uri.partition("?")[0].split("/")
    labels = (draw(st.text(min_size=1)) if s.startswith("{") else s for s in segments)
    return "/".join(quote(label, safe="") for label in labels)


def query_of(operation: Operation, message: Message, draw: Any) -> dict[str, list[str]]:
    names = {member.wire_name: st.lists(TEXT, max_size=3) for member in message.query}
    fixed = operation.uri.partition("?")[2].partition("=")
    query = draw(st.fixed_dictionaries({}, optional=names))
    return query | ({fixed[0]: [fixed[2]]} if fixed[0] else {})


@pytest.mark.parametrize(("service", "name"), operations())
@SETTINGS
@given(data=st.data())
def test_garbage_is_refused_as_aws_would(service: str, name: str, data: st.DataObject) -> None:
    model = ServiceModel.load(service)
    operation = model.operations[name]
    message = operation.input
    assert message is not None
    query = query_of(operation, message, data.draw)
    match = model.route(operation.method, path_of(operation, data.draw), query)
    assert match is not None
    headers = {member.wire_name: TEXT for member in message.header}
    body = data.draw(
        st.one_of(like(message.shape).map(lambda value: json.dumps(value).encode()), st.binary())
    )

    with contextlib.suppress(PlatformError):
        validate(
            match.operation,
            parse_request(
                match, query, data.draw(st.fixed_dictionaries({}, optional=headers)), body
            ),
        )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.one_of(st.binary(), JSON.map(lambda value: json.dumps(value).encode())))
def test_any_bytes_are_json_or_refused(body: bytes) -> None:
    try:
        value = decode(body)
    except PlatformError:
        return
    assert value == msgspec.json.decode(body)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]), path=st.text(), query=TEXT)
def test_any_path_is_routed_or_not(method: str, path: str, query: str) -> None:
    ServiceModel.load("lambda").route(method, path, {query: [query]})
    ServiceModel.load("lambda").route(method, f"/2015-03-31/functions/{path}", {"List": [query]})


def patterns() -> list[str]:
    found = set()
    for service in SERVICES:
        model = botocore_model(service)
        for shape in map(model.shape_for, model.shape_names):
            if "pattern" in shape.metadata:
                found.add(shape.metadata["pattern"])
    return sorted(found)


UNITS = ("a", "0", "a.", "a-", "-", ".", "a:", "/", "aa-", "us-", "a1", "=", "\u00e9", "\n", " ")
PREFIXES = ("", "arn:aws:lambda:us-east-1:000000000000:function:", "arn:aws:")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", patterns())
def test_no_pattern_of_the_models_backtracks_for_long(pattern: str) -> None:
    # One that backtracked exponentially, or even with the square of the length, would not end
    # within the time limit.
    for prefix in PREFIXES:
        for unit in UNITS:
            for end in ("", "!", "\n"):
                text = (prefix + unit * java.MAX_CHARS)[: java.MAX_CHARS - 1] + end
                java.matches(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "matching"),
    [
        ("[a-z]+", "abc", True),
        ("[a-z]+", "abc\n", False),
        ("a|b", "ab", False),
        ("a$|^b", "a", True),
        ("a$|^b", "b", True),
        ("a$|^b", "a\n", False),
        (".*", "a\u2028b", False),
        (".*", "a\rb", False),
        ("[.]", "x", False),
        ("\\.", "x", False),
        ("\\d", "\u0663", False),
        ("[\\s\\S]*", "a\nb", True),
        ("[a[]", "[", True),
        ("(?<year>\\d+)", "2026", True),
        ("(?<!a)b", "b", True),
        ("a\\z", "a", True),
        ("\\x41", "A", True),
        ("\\p{L}\\P{L}", "\u00e91", True),
        ("[^\\p{L}]", "\u00e9", False),
    ],
)
def test_patterns_mean_what_they_mean_to_java(pattern: str, text: str, matching: bool) -> None:
    assert java.matches(pattern, text) is matching


def test_a_string_over_the_bound_matches_nothing() -> None:
    assert not java.matches(".*", "x" * (java.MAX_CHARS + 1))


@pytest.mark.parametrize("category", ["L", "N", "Z", "C", "Lu"])
def test_categories_are_those_of_unicode(category: str) -> None:
    inside = re.compile(f"[{java.category_ranges(category)}]")

    wrong = [
        code
        for code in range(0, 0x110000, 7)
        if bool(inside.match(chr(code))) is not unicodedata.category(chr(code)).startswith(category)
    ]

    assert wrong == []
