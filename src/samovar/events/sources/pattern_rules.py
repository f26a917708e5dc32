"""The rules that a pattern can make for one value. Pure; none backtracks."""

from __future__ import annotations

import ipaddress
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Rule = Callable[[Any], bool]
"""Takes a leaf of an event: a text, a number, a truth value, None."""

Plain = tuple[str, Any]
"""A leaf that can be compared: true is no number here, and 1 equals 1.0."""


class PatternError(Exception):
    """What is no pattern; the message says why."""


def plain(leaf: Any) -> Plain:
    """A leaf as it is compared."""
    if isinstance(leaf, bool):
        return ("truth", leaf)
    if isinstance(leaf, int | float):
        return ("number", leaf)
    return ("text", leaf)


def compile_rule(rule: Mapping[str, Any]) -> Rule:
    """A rule such as {"prefix": "a"}, but for `exists`. Raises `PatternError`."""
    if len(rule) != 1:
        raise PatternError("a rule has one operator")
    [(name, value)] = rule.items()
    make = _OPERATORS.get(name)
    if make is None:
        raise PatternError(f"there is no operator {name[:50]!r}")
    return make(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise PatternError("the operator takes a text")
    return value


def _on_texts(holds: Callable[[str], bool]) -> Rule:
    return lambda leaf: isinstance(leaf, str) and holds(leaf)


def _ignoring_case(value: Any) -> str | None:
    """What {"equals-ignore-case": …} inside of a prefix or suffix holds, in lower case."""
    if not isinstance(value, dict):
        return None
    if list(value) != ["equals-ignore-case"]:
        raise PatternError("only equals-ignore-case goes here")
    return _text(value["equals-ignore-case"]).lower()


def _prefix(value: Any) -> Rule:
    lower = _ignoring_case(value)
    if lower is not None:
        return _on_texts(lambda text: text[: len(lower)].lower().startswith(lower))
    start = _text(value)
    return _on_texts(lambda text: text.startswith(start))


def _suffix(value: Any) -> Rule:
    lower = _ignoring_case(value)
    if lower is not None:
        return _on_texts(lambda text: text[max(len(text) - len(lower), 0) :].lower() == lower)
    end = _text(value)
    return _on_texts(lambda text: text.endswith(end))


def _equals_ignore_case(value: Any) -> Rule:
    lower = _text(value).lower()
    return _on_texts(lambda text: text.lower() == lower)


def _wildcard(value: Any) -> Rule:
    first, *others = _literals(_text(value))
    if not others:
        return _on_texts(lambda text: text == first)
    *middle, last = others

    def holds(text: str) -> bool:
        end = len(text) - len(last)
        if end < len(first) or not (text.startswith(first) and text.endswith(last)):
            return False
        at = len(first)
        for literal in middle:  # the leftmost place is never a worse choice than a later one
            at = text.find(literal, at, end)
            if at < 0:
                return False
            at += len(literal)
        return True

    return _on_texts(holds)


def _literals(wildcard: str) -> list[str]:
    r"""The texts between the stars; `\*` and `\\` stand for the characters themselves."""
    found: list[str] = []
    current, characters = "", iter(wildcard)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if escaped not in ("*", "\\"):
                raise PatternError(r"after a \ comes * or \ in a wildcard")
            current += escaped
        elif character == "*":
            if found and not current:
                raise PatternError("a wildcard has no two stars in a row")
            found.append(current)
            current = ""
        else:
            current += character
    return [*found, current]


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _numeric(value: Any) -> Rule:
    if not isinstance(value, list) or len(value) not in (2, 4):
        raise PatternError("numeric takes one or two comparisons")
    tests = [_comparison(*value[at : at + 2]) for at in range(0, len(value), 2)]
    if len(tests) == 2 and (value[0] not in (">", ">=") or value[2] not in ("<", "<=")):
        raise PatternError("a range has its lower bound first, then its upper one")
    return lambda leaf: _is_number(leaf) and all(compare(leaf, bound) for compare, bound in tests)


def _comparison(sign: Any, bound: Any) -> tuple[Callable[[Any, Any], bool], Any]:
    compare = _COMPARISONS.get(sign) if isinstance(sign, str) else None
    if compare is None or not _is_number(bound):
        raise PatternError("a comparison is one of = < <= > >= and a number")
    return compare, bound


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, int | float) and not isinstance(leaf, bool)


MAX_ADDRESS_CHARS = 50


def _cidr(value: Any) -> Rule:
    try:
        network = ipaddress.ip_network(_text(value), strict=False)
    except ValueError as error:
        raise PatternError("cidr takes a block of addresses") from error

    def holds(text: str) -> bool:
        try:
            return len(text) <= MAX_ADDRESS_CHARS and ipaddress.ip_address(text) in network
        except ValueError:
            return False

    return _on_texts(holds)


def _anything_but(value: Any) -> Rule:
    if isinstance(value, dict):
        if len(value) != 1 or not value.keys() <= _INSIDE_ANYTHING_BUT.keys():
            raise PatternError("anything-but takes values, prefix, suffix, wildcard, …")
        [(name, given)] = value.items()
        rules = [_INSIDE_ANYTHING_BUT[name](each) for each in _one_or_more(given)]
        return _on_texts(lambda text: not any(rule(text) for rule in rules))
    values = _one_or_more(value)
    if not all(isinstance(each, str) or _is_number(each) for each in values):
        raise PatternError("anything-but takes texts or numbers")
    excluded = frozenset(plain(each) for each in values)
    return lambda leaf: plain(leaf) not in excluded


def _one_or_more(value: Any) -> Sequence[Any]:
    if value == []:
        raise PatternError("a list of values must not be empty")
    return value if isinstance(value, list) else [value]


_INSIDE_ANYTHING_BUT: Mapping[str, Callable[[Any], Rule]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
}

_OPERATORS: Mapping[str, Callable[[Any], Rule]] = {
    **_INSIDE_ANYTHING_BUT,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "cidr": _cidr,
}
