"""A request's parameters against the model's constraints, refused in AWS's words.

How this works. The parameters are walked with their shapes; whatever breaks a constraint becomes
one *violation* (`Value 'x' at 'memberPath' failed to satisfy constraint: …`), and all of them
together one ValidationException. As in AWS's own framework, what is wrong within a list or map of
scalars is said of the list or map as a whole, with every constraint that its items have.

A request can be made to break millions of constraints, and its values are echoed: both are
bounded. What is sensitive is never echoed, nor is what holds it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from samovar.awsproto.constraints import NOT_NULL, Constraint, constraints_of
from samovar.awsproto.operation import Operation
from samovar.awsproto.shapes import Kind, Shape
from samovar.model.errors import ErrorCode, PlatformError

MAX_VIOLATIONS = 20
"""After so many the rest of the request is not looked at."""

MAX_ECHO_CHARS = 2048
"""Of one value; a longer one is cut."""

LENIENT_ENUMS: Mapping[str, str] = {"Runtime": " or be a valid ARN"}
"""Member → what follows the enum in the message. Lambda checks these members of a request's top
level itself, not in its framework: InvalidParameterValueException, without the count and without
quotes, and only if the framework found nothing. For example, an answer of AWS: `Value haskell at
'runtime' failed to satisfy constraint: Member must satisfy enum value set: [java8, …] or be a valid
ARN (Status Code: 400; Error Code: InvalidParameterValueException)`."""

constraints = cache(constraints_of)


class _Full(Exception):  # noqa: N818 - control flow, not an error
    """Enough violations have been found."""


def validate(operation: Operation, params: Mapping[str, Any]) -> None:
    """Return if `params`, as `parse_request` made them, keep every constraint of the model.

    Raises VALIDATION, with everything that is wrong, or INVALID_PARAMETER (`LENIENT_ENUMS`).
    """
    if operation.input is None:
        return
    walk = _Walk()
    with contextlib.suppress(_Full):
        walk.structure(operation.input.shape, params, "", sensitive=False)
    if walk.violations:
        count = len(walk.violations)
        noun = "error" if count == 1 else "errors"
        raise PlatformError(
            ErrorCode.VALIDATION,
            f"{count} validation {noun} detected: {'; '.join(walk.violations)}",
        )
    _check_lenient(operation.input.shape, params)


def _check_lenient(shape: Shape, params: Mapping[str, Any]) -> None:
    for name, value in params.items():
        member = shape.members[name]
        suffix = LENIENT_ENUMS.get(name)
        if suffix is None or not member.shape.enum or value in member.shape.enum:
            continue
        raise PlatformError(
            ErrorCode.INVALID_PARAMETER,
            f"Value {value[:MAX_ECHO_CHARS]} at '{member.path_name}' failed to satisfy constraint: "
            f"{constraints(member.shape)[0].text}{suffix}",
        )


class _Walk:
    """One look through a request's parameters."""

    def __init__(self) -> None:
        self.violations: list[str] = []

    def structure(
        self, shape: Shape, value: Mapping[str, Any], path: str, *, sensitive: bool
    ) -> None:
        for name in shape.required:
            if value.get(name) is None:
                self._add("Value null", _join(path, shape.members[name].path_name), NOT_NULL)
        for name, item in value.items():
            member = shape.members[name]
            if not path and name in LENIENT_ENUMS and member.shape.enum:
                continue
            self.value(member.shape, item, _join(path, member.path_name), sensitive=sensitive)

    def value(self, shape: Shape, value: Any, path: str, *, sensitive: bool) -> None:
        if shape.document:
            return
        sensitive = sensitive or shape.sensitive
        broken = _first(constraints(shape), value)
        for constraint in broken:
            self._add(_subject(shape, value, sensitive=sensitive), path, constraint.text)
        match shape.kind:
            case Kind.STRUCTURE:
                self.structure(shape, value, path, sensitive=sensitive)
            case Kind.LIST if not broken:
                # The items of a list that is too long are not worth the time.
                self._list(shape, value, path, sensitive=sensitive)
            case Kind.MAP if not broken:
                self._map(shape, value, path, sensitive=sensitive)

    def _list(self, shape: Shape, value: list[Any], path: str, *, sensitive: bool) -> None:
        element = shape.element
        assert element is not None
        if element.is_scalar:
            self._scalars(shape, element, value, (value, path, "Member"), sensitive=sensitive)
            return
        for number, item in enumerate(value, start=1):
            self._item(element, item, f"{path}.{number}.member", sensitive=sensitive)

    def _map(self, shape: Shape, value: dict[str, Any], path: str, *, sensitive: bool) -> None:
        assert shape.key is not None
        assert shape.value is not None
        self._scalars(shape, shape.key, value, (value, path, "Map keys"), sensitive=sensitive)
        if shape.value.is_scalar:
            whole = (value, path, "Map value")
            self._scalars(shape, shape.value, value.values(), whole, sensitive=sensitive)
            return
        for key, item in value.items():
            name = "*" if sensitive or shape.key.sensitive else key[:MAX_ECHO_CHARS]
            self._item(shape.value, item, f"{path}.{name}.member", sensitive=sensitive)

    def _item(self, shape: Shape, item: Any, path: str, *, sensitive: bool) -> None:
        if item is None:
            self._add("Value null", path, NOT_NULL)
        else:
            self.value(shape, item, path, sensitive=sensitive)

    def _scalars(
        self,
        shape: Shape,
        scalar: Shape,
        items: Iterable[Any],
        whole: tuple[Any, str, str],
        *,
        sensitive: bool,
    ) -> None:
        rules = constraints(scalar)
        value, path, noun = whole
        for item in items:
            if item is None or _first(rules, item):
                texts = ", ".join([*(rule.text for rule in rules), NOT_NULL])
                subject = _subject(shape, value, sensitive=sensitive or _holds_sensitive(shape))
                self._add(subject, path, f"{noun} must satisfy constraint: [{texts}]")
                return

    def _add(self, subject: str, path: str, text: str) -> None:
        self.violations.append(f"{subject} at '{path}' failed to satisfy constraint: {text}")
        if len(self.violations) >= MAX_VIOLATIONS:
            raise _Full


def _first(rules: tuple[Constraint, ...], value: Any) -> list[Constraint]:
    return [rule for rule in rules if not rule.holds(value)]


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _subject(shape: Shape, value: Any, *, sensitive: bool) -> str:
    if sensitive or _holds_sensitive(shape):
        return "Value"
    return f"Value '{_echo(shape, value)}'"


@cache
def _holds_sensitive(shape: Shape) -> bool:
    """Whether a value of this shape may hold anything sensitive, or binary, at any depth."""
    seen: set[Shape] = set()
    waiting = [shape]
    while waiting:
        current = waiting.pop()
        if current.sensitive or current.kind is Kind.BLOB:
            return True
        if current not in seen:
            seen.add(current)
            parts = (current.element, current.key, current.value)
            waiting += [part for part in parts if part is not None]
            waiting += [member.shape for member in current.members.values()]
    return False


def _echo(shape: Shape, value: Any) -> str:
    """Write a value as Java's `toString` would, cut at `MAX_ECHO_CHARS`."""
    writer = _ECHOES.get(shape.kind)
    text = writer(shape, value) if writer else str(value)[: MAX_ECHO_CHARS + 1]
    return text if len(text) <= MAX_ECHO_CHARS else text[:MAX_ECHO_CHARS] + "…"


def _echo_list(shape: Shape, value: list[Any]) -> str:
    assert shape.element is not None
    element = shape.element
    return f"[{_joined(_echo_item(element, item) for item in value)}]"


def _echo_map(shape: Shape, value: Mapping[str, Any]) -> str:
    assert shape.value is not None
    of = shape.value
    return f"{{{_joined(f'{key}={_echo_item(of, item)}' for key, item in value.items())}}}"


def _echo_structure(shape: Shape, value: Mapping[str, Any]) -> str:
    items = value.items()
    parts = (f"{name}={_echo_item(shape.members[name].shape, item)}" for name, item in items)
    return f"{shape.name}({_joined(parts)})"


def _echo_item(shape: Shape, item: Any) -> str:
    return "null" if item is None else _echo(shape, item)


def _echo_boolean(_shape: Shape, value: bool) -> str:
    return "true" if value else "false"


def _joined(parts: Iterable[str]) -> str:
    """Join as many parts as fit."""
    taken, length = [], 0
    for part in parts:
        taken.append(part)
        length += len(part) + 2
        if length > MAX_ECHO_CHARS:
            break
    return ", ".join(taken)


_ECHOES: Mapping[Kind, Callable[[Shape, Any], str]] = {
    Kind.LIST: _echo_list,
    Kind.MAP: _echo_map,
    Kind.STRUCTURE: _echo_structure,
    Kind.BOOLEAN: _echo_boolean,
}
