"""The pattern language of EventBridge, which Lambda's filters are written in. Pure.

How this works. A pattern has the form of what it matches: objects lead on, lists hold the rules of
a value, one of which must hold. All fields of an object must match; `$or` holds alternatives. A
list in an event stands for each of its values: one must match, and where a pattern looks into a
list of objects, one of them must match all of it. `exists` speaks of leaves only.

Compiling checks everything and turns a list of rules into one set of plain values and a few
functions. Matching counts its steps, for senders choose what is matched. No rule backtracks.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from samovar.events.sources.content import Content
from samovar.events.sources.pattern_rules import PatternError, Plain, Rule, compile_rule, plain

MAX_DEPTH = 100
"""Objects in objects; $or counts too."""

MAX_STEPS = 100_000
"""Fields, values, rules and thousands of characters that are looked at for one event."""

OR = "$or"

__all__ = ["Pattern", "PatternError", "Steps", "TooMuchError", "compile_pattern"]


class TooMuchError(Exception):
    """Matching takes too long."""


class Steps:
    """What is left of them, for one event."""

    def __init__(self) -> None:
        self.left = MAX_STEPS

    def take(self, count: int = 1) -> None:
        """Raises `TooMuchError`."""
        self.left -= count
        if self.left < 0:
            raise TooMuchError


@dataclass(frozen=True, slots=True)
class _Leaf:
    plain: frozenset[Plain]
    rules: tuple[Rule, ...]
    exists: frozenset[bool]

    def matches(self, value: Any, steps: Steps) -> bool:
        """`value` may be `_ABSENT`."""
        there = False
        for leaf in _leaves(value, steps):
            there = True
            length = len(leaf) if isinstance(leaf, str) else 0
            steps.take(len(self.rules) * (1 + length // 1000))
            if plain(leaf) in self.plain or any(rule(leaf) for rule in self.rules):
                return True
        return there in self.exists


@dataclass(frozen=True, slots=True)
class _Branch:
    fields: tuple[tuple[str, _Leaf | _Branch], ...]
    alternatives: tuple[tuple[_Branch, ...], ...]
    """Of each list, one must match."""

    def matches(self, value: Any, steps: Steps) -> bool:
        """`value` may be `_ABSENT`: `exists: false` holds below it too."""
        if isinstance(value, list):
            return any(self._match_object(each, steps) for each in value)
        return self._match_object(value, steps)

    def _match_object(self, value: Any, steps: Steps) -> bool:
        steps.take()
        if isinstance(value, list):
            return self.matches(value, steps)
        found: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        return all(
            _match_field(node, found.get(name, _ABSENT), steps) for name, node in self.fields
        ) and all(
            any(branch.matches(value, steps) for branch in branches)
            for branches in self.alternatives
        )


class _Absent:
    """There is no such field."""


_ABSENT = _Absent()


def _match_field(node: _Leaf | _Branch, value: Any, steps: Steps) -> bool:
    steps.take()
    if isinstance(value, Content):
        found = value.document if isinstance(node, _Branch) else value.text
        return found is not None and node.matches(found, steps)
    return node.matches(value, steps)


def _leaves(value: Any, steps: Steps) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            steps.take()
            yield from _leaves(each, steps)
    elif not isinstance(value, Mapping | _Absent):
        yield value


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern, compiled."""

    _root: _Branch

    def matches(self, event: Mapping[str, Any], steps: Steps | None = None) -> bool:
        """Whether it matches an event: JSON's types of Python, and `Content`. Raises
        `TooMuchError` where that cannot be told in so many steps, RecursionError in so deep lists.
        """
        return self._root.matches(event, steps or Steps())


def compile_pattern(text: str) -> Pattern:
    """Raises `PatternError` for what is no pattern."""
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise PatternError("it is no JSON") from error
    return Pattern(_branch(document, MAX_DEPTH))


def _branch(document: Any, depth: int) -> _Branch:
    if not isinstance(document, dict) or not document:
        raise PatternError("a pattern is an object with fields")
    if not depth:
        raise PatternError("it is nested too deeply")
    fields: list[tuple[str, _Leaf | _Branch]] = []
    alternatives = []
    for name, value in document.items():
        if name == OR:
            alternatives.append(_alternatives(value, depth - 1))
        elif isinstance(value, list):
            fields.append((name, _leaf(value)))
        else:
            fields.append((name, _branch(value, depth - 1)))
    return _Branch(tuple(fields), tuple(alternatives))


def _alternatives(value: Any, depth: int) -> tuple[_Branch, ...]:
    if not isinstance(value, list) or len(value) < 2:
        raise PatternError("$or takes a list of two or more patterns")
    return tuple(_branch(each, depth) for each in value)


def _leaf(rules: Sequence[Any]) -> _Leaf:
    if not rules:
        raise PatternError("a list of rules must not be empty")
    values, functions, exists = set[Plain](), list[Rule](), set[bool]()
    for rule in rules:
        if isinstance(rule, list):
            raise PatternError("a rule is no list")
        if not isinstance(rule, dict):
            values.add(plain(rule))
        elif list(rule) == ["exists"]:
            if not isinstance(rule["exists"], bool):
                raise PatternError("exists takes true or false")
            exists.add(rule["exists"])
        else:
            functions.append(compile_rule(rule))
    return _Leaf(frozenset(values), tuple(functions), frozenset(exists))
