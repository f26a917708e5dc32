"""The constraints of a shape: what they demand, and AWS's words for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from samovar.awsproto import pattern
from samovar.awsproto.shapes import INT_BOUNDS, Kind, Shape

NOT_NULL = "Member must not be null"

NUMBERS = frozenset({*INT_BOUNDS, Kind.FLOAT, Kind.DOUBLE})
SIZED = frozenset({Kind.STRING, Kind.BLOB, Kind.LIST, Kind.MAP})


@dataclass(frozen=True, slots=True)
class Constraint:
    """One demand on a value."""

    text: str
    """`Member must …`"""
    holds: Callable[[Any], bool]


def constraints_of(shape: Shape) -> tuple[Constraint, ...]:
    """Return what a shape demands of a value that is there, in the order of AWS's messages."""
    found = []
    if shape.kind in SIZED:
        if shape.max is not None:
            limit = int(shape.max)
            text = f"Member must have length less than or equal to {limit}"
            found.append(Constraint(text, partial(_not_longer, limit)))
        if shape.min is not None:
            limit = int(shape.min)
            text = f"Member must have length greater than or equal to {limit}"
            found.append(Constraint(text, partial(_not_shorter, limit)))
    elif shape.kind in NUMBERS:
        if shape.max is not None:
            text = f"Member must have value less than or equal to {_number(shape, shape.max)}"
            found.append(Constraint(text, partial(_not_over, shape.max)))
        if shape.min is not None:
            text = f"Member must have value greater than or equal to {_number(shape, shape.min)}"
            found.append(Constraint(text, partial(_not_under, shape.min)))
    if shape.enum:
        text = f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
        found.append(Constraint(text, frozenset(shape.enum).__contains__))
    if shape.pattern is not None and shape.kind is Kind.STRING:
        text = f"Member must satisfy regular expression pattern: {shape.pattern}"
        found.append(Constraint(text, partial(pattern.matches, shape.pattern)))
    return tuple(found)


def _number(shape: Shape, bound: float) -> str:
    return str(int(bound)) if shape.kind in INT_BOUNDS else str(float(bound))


def _not_longer(limit: int, value: Any) -> bool:
    return len(value) <= limit


def _not_shorter(limit: int, value: Any) -> bool:
    return len(value) >= limit


def _not_over(limit: float, value: Any) -> bool:
    return bool(value <= limit)


def _not_under(limit: float, value: Any) -> bool:
    return bool(value >= limit)
