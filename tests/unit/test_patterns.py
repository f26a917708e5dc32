"""The pattern language of filters, as EventBridge's and Lambda's pages document it."""

from __future__ import annotations

import json

import pytest

from samovar.events.sources.pattern import compile_pattern
from samovar.events.sources.pattern_rules import PatternError


def matches(pattern, event) -> bool:
    return compile_pattern(json.dumps(pattern)).matches(event)


MATCHING = [
    # exact values
    ({"a": ["x"]}, {"a": "x"}),
    ({"a": ["x", "y"]}, {"a": "y"}),
    ({"a": [1]}, {"a": 1.0}),
    ({"a": [True]}, {"a": True}),
    ({"a": [None]}, {"a": None}),
    ({"a": [""]}, {"a": ""}),
    ({"a": ["x"], "b": {"c": [2]}}, {"a": "x", "b": {"c": 2, "d": 3}}),
    # lists in events
    ({"a": ["x"]}, {"a": ["w", "x"]}),
    ({"a": {"b": [1], "c": [2]}}, {"a": [{"b": 1, "c": 0}, {"b": 1, "c": 2}]}),
    ({"a": {"b": [1]}}, {"a": [[{"b": 1}]]}),
    ({"a": [1]}, {"a": [[0], [1]]}),
    # exists
    ({"a": [{"exists": True}]}, {"a": None}),
    ({"a": [{"exists": True}]}, {"a": [0]}),
    ({"a": [{"exists": False}]}, {"b": 1}),
    ({"a": [{"exists": False}]}, {"a": {"b": 1}}),
    ({"a": {"b": [{"exists": False}]}}, {}),
    ({"a": {"b": [{"exists": False}]}}, {"a": {"c": 1}}),
    ({"a": ["x", {"exists": False}]}, {}),
    # texts
    ({"a": [{"prefix": "us-"}]}, {"a": "us-east-1"}),
    ({"a": [{"prefix": {"equals-ignore-case": "US-"}}]}, {"a": "us-east-1"}),
    ({"a": [{"suffix": ".png"}]}, {"a": "a.png"}),
    ({"a": [{"suffix": {"equals-ignore-case": ".PNG"}}]}, {"a": "a.png"}),
    ({"a": [{"suffix": {"equals-ignore-case": ""}}]}, {"a": "a.png"}),
    ({"a": [{"equals-ignore-case": "alice"}]}, {"a": "ALICE"}),
    ({"a": [{"wildcard": "*.png"}]}, {"a": "dir/a.png"}),
    ({"a": [{"wildcard": "dir/*/a*.png"}]}, {"a": "dir/x/y/a1.png"}),
    ({"a": [{"wildcard": "*"}]}, {"a": ""}),
    ({"a": [{"wildcard": r"a\*b"}]}, {"a": "a*b"}),
    ({"a": [{"wildcard": r"a\\*"}]}, {"a": r"a\b"}),
    ({"a": [{"wildcard": "ab*ba"}]}, {"a": "abba"}),
    # anything but
    ({"a": [{"anything-but": "x"}]}, {"a": "y"}),
    ({"a": [{"anything-but": ["x", "y"]}]}, {"a": "z"}),
    ({"a": [{"anything-but": [1, 2]}]}, {"a": 3}),
    ({"a": [{"anything-but": "x"}]}, {"a": ["x", "y"]}),
    ({"a": [{"anything-but": {"prefix": "us-"}}]}, {"a": "eu-west-1"}),
    ({"a": [{"anything-but": {"prefix": ["us-", "eu-"]}}]}, {"a": "ap-south-1"}),
    ({"a": [{"anything-but": {"suffix": [".png", ".jpg"]}}]}, {"a": "a.txt"}),
    ({"a": [{"anything-but": {"equals-ignore-case": ["x", "y"]}}]}, {"a": "Z"}),
    ({"a": [{"anything-but": {"wildcard": "*/lib/*"}}]}, {"a": "/usr/bin/x"}),
    # numbers
    ({"a": [{"numeric": ["=", 100]}]}, {"a": 1e2}),
    ({"a": [{"numeric": [">", 10, "<=", 20]}]}, {"a": 20}),
    ({"a": [{"numeric": ["<", 0]}]}, {"a": -0.5}),
    # addresses
    ({"a": [{"cidr": "10.0.0.0/24"}]}, {"a": "10.0.0.255"}),
    ({"a": [{"cidr": "2001:db8::/32"}]}, {"a": "2001:db8::1"}),
    # or
    ({"$or": [{"a": [1]}, {"b": [2]}]}, {"b": 2}),
    ({"c": [3], "$or": [{"a": [1]}, {"b": [2]}]}, {"c": 3, "a": 1}),
    ({"d": {"$or": [{"a": [1]}, {"$or": [{"b": [2]}, {"c": [3]}]}]}}, {"d": {"c": 3}}),
]


@pytest.mark.parametrize(("pattern", "event"), MATCHING, ids=str)
def test_a_pattern_matches(pattern, event):
    assert matches(pattern, event)


NOT_MATCHING = [
    ({"a": ["1"]}, {"a": 1}),
    ({"a": [1]}, {"a": True}),
    ({"a": [0]}, {"a": False}),
    ({"a": [None]}, {}),
    ({"a": [None]}, {"a": ""}),
    ({"a": ["x"], "b": ["y"]}, {"a": "x"}),
    ({"a": ["x"]}, {"a": {"x": "x"}}),
    ({"a": {"b": [1], "c": [2]}}, {"a": [{"b": 1}, {"c": 2}]}),
    ({"a": [{"exists": True}]}, {}),
    ({"a": [{"exists": True}]}, {"a": {"b": 1}}),
    ({"a": [{"exists": True}]}, {"a": []}),
    ({"a": [{"exists": False}]}, {"a": None}),
    ({"a": [{"prefix": "us-"}]}, {"a": "eu-us-"}),
    ({"a": [{"prefix": "1"}]}, {"a": 1}),
    ({"a": [{"suffix": ".png"}]}, {"a": ".png.txt"}),
    ({"a": [{"suffix": {"equals-ignore-case": "abc"}}]}, {"a": "bc"}),
    ({"a": [{"equals-ignore-case": "alice"}]}, {"a": "alices"}),
    ({"a": [{"wildcard": "ab*ba"}]}, {"a": "aba"}),
    ({"a": [{"wildcard": "a*b*c"}]}, {"a": "acb"}),
    ({"a": [{"anything-but": "x"}]}, {}),
    ({"a": [{"anything-but": "x"}]}, {"a": "x"}),
    ({"a": [{"anything-but": {"prefix": "us-"}}]}, {"a": "us-east-1"}),
    ({"a": [{"anything-but": {"wildcard": ["*a*", "*b*"]}}]}, {"a": "xbx"}),
    ({"a": [{"numeric": [">", 10, "<", 20]}]}, {"a": 10}),
    ({"a": [{"numeric": ["=", 1]}]}, {"a": True}),
    ({"a": [{"numeric": ["=", 1]}]}, {"a": "1"}),
    ({"a": [{"cidr": "10.0.0.0/24"}]}, {"a": "10.0.1.0"}),
    ({"a": [{"cidr": "10.0.0.0/24"}]}, {"a": "no address"}),
    ({"$or": [{"a": [1]}, {"b": [2]}]}, {"a": 2, "b": 1}),
]


@pytest.mark.parametrize(("pattern", "event"), NOT_MATCHING, ids=str)
def test_a_pattern_does_not_match(pattern, event):
    assert not matches(pattern, event)


NO_PATTERNS = [
    "",
    "x",
    "[]",
    "{}",
    "null",
    '{"a": 1}',
    '{"a": "x"}',
    '{"a": []}',
    '{"a": {}}',
    '{"a": [["x"]]}',
    '{"a": [{}]}',
    '{"a": [{"prefix": "a", "suffix": "b"}]}',
    '{"a": [{"regex": ".*"}]}',
    '{"a": [{"prefix": 1}]}',
    '{"a": [{"prefix": {"wildcard": "a"}}]}',
    '{"a": [{"exists": "yes"}]}',
    '{"a": [{"exists": 1}]}',
    '{"a": [{"numeric": []}]}',
    '{"a": [{"numeric": ["=", "1"]}]}',
    '{"a": [{"numeric": ["=", true]}]}',
    '{"a": [{"numeric": ["~", 1]}]}',
    '{"a": [{"numeric": [[], 1]}]}',
    '{"a": [{"numeric": ["<", 1, ">", 0]}]}',
    '{"a": [{"numeric": [">", 0, "<"]}]}',
    '{"a": [{"cidr": "10.0.0.0/99"}]}',
    '{"a": [{"wildcard": "a**b"}]}',
    '{"a": [{"wildcard": "a\\\\b"}]}',
    '{"a": [{"anything-but": []}]}',
    '{"a": [{"anything-but": null}]}',
    '{"a": [{"anything-but": [true]}]}',
    '{"a": [{"anything-but": {"numeric": ["=", 1]}}]}',
    '{"a": [{"anything-but": {"prefix": []}}]}',
    '{"$or": [{"a": [1]}]}',
    '{"$or": {"a": [1]}}',
    '{"$or": [1, 2]}',
    '{"a":' * 400 + "[1]" + "}" * 400,
    "[" * 4000,
]


@pytest.mark.parametrize("text", NO_PATTERNS, ids=lambda text: text[:60])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(PatternError):
        compile_pattern(text)
