"""Which records filters let through: JSON and plain text, bad text, and bombs."""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import json
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.events.sources.filter import Filters, sort_out
from samovar.events.sources.pattern import Steps, TooMuchError, compile_pattern
from samovar.events.sources.pattern_rules import PatternError
from samovar.events.sources.record import Record

JSON_PATTERN = {"body": {"kind": ["green"]}}
TEXT_PATTERN = {"body": [{"prefix": "gr"}]}
OTHER_PATTERN = {"partitionKey": ["k"]}
GREEN = '{"kind": "green"}'

# https://docs.aws.amazon.com/lambda/latest/dg/with-sqs-filtering.html: the table of formats.
FORMATS = [
    ("green", TEXT_PATTERN, True),
    ("red", TEXT_PATTERN, False),
    ("green", OTHER_PATTERN, True),
    ("green", JSON_PATTERN, False),
    (GREEN, TEXT_PATTERN, False),
    (GREEN, OTHER_PATTERN, True),
    (GREEN, JSON_PATTERN, True),
    ('{"kind": "red"}', JSON_PATTERN, False),
    ('[{"kind": "green"}]', JSON_PATTERN, True),
    ('"green"', JSON_PATTERN, False),
    ('"green"', {"body": ['"green"']}, True),
    ("7", {"body": ["7"]}, True),
    (b"\xff\xfe", JSON_PATTERN, False),
    (b"\xff\xfe", TEXT_PATTERN, False),
    (b"\xff\xfe", OTHER_PATTERN, True),
    (None, JSON_PATTERN, False),
    (None, {"body": [{"exists": False}]}, False),
    ("green", {"$or": [JSON_PATTERN, OTHER_PATTERN]}, True),
    ("", {"body": [""]}, True),
    ("[" * 500_000, JSON_PATTERN, False),
    ("[" * 500_000, TEXT_PATTERN, False),
    ('{"kind":' * 5000 + "1" + "}" * 5000, JSON_PATTERN, False),
]


def passes(content, *patterns) -> bool:
    record = Record(id="1", json=b"{}", seen={"partitionKey": "k"}, contents={"body": content})
    return Filters([json.dumps(pattern) for pattern in patterns]).admit(record)


@pytest.mark.parametrize(
    ("content", "pattern", "passed"), FORMATS, ids=lambda value: str(value)[:50]
)
def test_contents_are_json_or_text_as_the_pattern_expects(content, pattern, passed):
    assert passes(content, pattern) is passed


def test_any_of_the_filters_lets_a_record_through():
    assert passes("blue", TEXT_PATTERN, {"body": ["blue"]})
    assert not passes("blue", TEXT_PATTERN, JSON_PATTERN)
    assert passes("anything")


@pytest.mark.parametrize("patterns", [['{"a":[1]}'] * 6, ['{"a":["' + "x" * 4096 + '"]}']], ids=len)
def test_more_and_longer_patterns_than_aws_takes_are_refused(patterns):
    with pytest.raises(PatternError):
        Filters(patterns)


# ---------------------------------------------------------------- bombs

LONG = "a" * 1_000_000

BOMBS = [
    ({"a": [{"wildcard": "*a" * 100 + "*b"}]}, {"a": LONG}),
    ({"a": [{"wildcard": "*" + "a" * 1000 + "b*"}]}, {"a": LONG}),
    ({"a": [{"anything-but": {"wildcard": ["*" + "a" * 1000 + "b*"] * 3}}]}, {"a": LONG + "ab"}),
    ({"a": [{"cidr": "10.0.0.0/8"}]}, {"a": LONG}),
    ({"a": [{"prefix": {"equals-ignore-case": "A" * 3000 + "B"}}]}, {"a": LONG}),
    (
        {"$or": [{"a": {"b": [{"prefix": "x"}]}}] * 60},
        {"a": [{"b": list(range(20))}] * 5_000},
    ),
    ({"a": [{"numeric": ["<", 0]}] * 30}, {"a": list(range(400_000))}),
]


@pytest.mark.parametrize(("pattern", "event"), BOMBS, ids=lambda value: str(value)[:40])
def test_no_message_keeps_the_platform_busy(pattern, event):
    # What backtracks, or counts no steps, would take minutes here.
    with contextlib.suppress(TooMuchError):
        assert compile_pattern(json.dumps(pattern)).matches(event) is False


def test_what_cannot_be_told_in_time_goes_through():
    body = json.dumps({"kind": ["red"] * 200_000})
    assert passes(body, {"body": {"kind": [{"prefix": "green"}]}})
    assert not passes(body[:1000] + '"]}', {"body": {"kind": [{"prefix": "green"}]}})


def test_steps_are_counted_over_all_patterns_and_the_length_of_texts():
    pattern = {"a": [{"equals-ignore-case": "x"}] * 20}
    steps = Steps()
    compile_pattern(json.dumps(pattern)).matches({"a": LONG}, steps)
    with pytest.raises(TooMuchError):
        for _ in range(10):
            compile_pattern(json.dumps(pattern)).matches({"a": LONG}, steps)


async def test_large_records_are_looked_at_beside_the_others():
    loops = []

    def admits(record: Record) -> bool:
        loops.append(threading.current_thread() is threading.main_thread())
        return record.id == "1"

    large = Record(id="1", json=b"x" * 100_000)
    assert await sort_out([large, Record(id="2", json=b"x")], admits) == (
        [large],
        [Record(id="2", json=b"x")],
    )
    assert loops == [False, True]


def nested(depth: int):
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_lists_in_lists_do_not_end_the_platform():
    pattern = {"body": {"a": [1], "b": {"c": [2]}}}
    assert passes(json.dumps({"a": nested(900), "b": nested(900)}), pattern) in (True, False)


# ---------------------------------------------------------------- properties

names = st.sampled_from("abc")
leaves = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "ab", "B"])
events = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
rules = (
    leaves
    | st.booleans().map(lambda value: {"exists": value})
    | st.sampled_from(["a", "b"]).map(lambda text: {"prefix": text})
    | st.sampled_from(["a", "b"]).map(lambda text: {"anything-but": text})
    | st.integers(-2, 2).map(lambda bound: {"numeric": [">", bound]})
)
patterns = st.recursive(
    st.dictionaries(names, st.lists(rules, min_size=1, max_size=3), min_size=1, max_size=3),
    lambda inner: (
        st.dictionaries(names, inner, min_size=1, max_size=2)
        | st.lists(inner, min_size=2, max_size=3).map(lambda each: {"$or": each})
    ),
    max_leaves=4,
)


def naive(pattern, event) -> bool:
    """The same language, spelled out: slow, and by another way."""
    if isinstance(event, list):
        return any(naive(pattern, each) for each in event)
    fields = event if isinstance(event, dict) else {}
    for name, node in pattern.items():
        if name == "$or":
            if not any(naive(each, event) for each in node):
                return False
        elif isinstance(node, dict):
            if not naive(node, fields.get(name, {})):
                return False
        else:
            values = flat(fields[name]) if name in fields else []
            if not any(holds(rule, values) for rule in node):
                return False
    return True


def flat(value) -> list:
    if isinstance(value, list):
        return [leaf for each in value for leaf in flat(each)]
    return [] if isinstance(value, dict) else [value]


def holds(rule, values) -> bool:
    match rule:
        case {"exists": wanted}:
            return bool(values) is wanted
        case {"prefix": start}:
            return any(isinstance(v, str) and v.startswith(start) for v in values)
        case {"anything-but": text}:
            return any(v != text for v in values)
        case {"numeric": [_, bound]}:
            return any(type(v) is int and v > bound for v in values)
    return any(type(v) is type(rule) and v == rule for v in values)


@given(patterns, st.dictionaries(names, events, max_size=3))
def test_matching_agrees_with_the_language_spelled_out(pattern, event):
    assert compile_pattern(json.dumps(pattern)).matches(event) is naive(pattern, event)


@given(st.text("ab*", max_size=8).filter(lambda text: "**" not in text), st.text("ab", max_size=12))
def test_wildcards_agree_with_regular_expressions(wildcard, text):
    expected = re.fullmatch(fnmatch.translate(wildcard), text) is not None
    compiled = compile_pattern(json.dumps({"x": [{"wildcard": wildcard}]}))
    assert compiled.matches({"x": text}) is expected


@given(st.text(max_size=40) | events.map(json.dumps))
def test_any_text_is_a_pattern_or_refused(text):
    try:
        compile_pattern(text)
    except PatternError:
        return
    assert isinstance(json.loads(text), dict)


async def test_others_have_their_turns_while_small_records_are_looked_at():
    seen: list[str] = []

    def admits(record: Record) -> bool:
        seen.append(record.id)
        return True

    sorting = asyncio.ensure_future(sort_out([Record(id=n, json=b"x") for n in "abc"], admits))
    turns = []
    while not sorting.done():
        turns.append(len(seen))
        await asyncio.sleep(0)
    assert turns[:4] == [0, 1, 2, 3]
