"""How often a chain of requests has come through a function: `Lineage` in the trace header.

Each invocation hands its instance a header with one more entry, `HASH:ROUNDS`, where ROUNDS counts
the earlier invocations of that function in the same chain. AWS's SDKs pass the header on with what
they send, queues keep it beside their messages, and so it comes back with whatever the function has
caused. https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html

    Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a87bd80c:1|68fd508a:0

Who does not pass it on is not caught, and who makes it up stops nobody but themselves.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable

from samovar.model.function import FunctionId

MAX_ROUNDS = 16
"""Invocations of one function in one chain; the next one is stopped."""

MAX_FUNCTIONS = 20
"""Entries of one header: the newest. A loop through more functions is not seen."""

MAX_HEADER_CHARS = 500
"""What EventBridge takes."""

_FIELD = ";Lineage="
_ENTRY = re.compile(r"(?:\d{1,5}:)?([0-9a-f]{8}):(\d{1,3})")
"""AWS writes a number before it, nowadays."""

_WELL_FORMED = re.compile(r"[A-Za-z]{1,32}=[A-Za-z0-9:|._-]{1,400}", re.ASCII)
_ROOT = re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}")

_KNOWN_FIELDS = ("Root=", "Parent=", "Sampled=")


def enter(header: str, function: FunctionId) -> tuple[str, int]:
    """The trace header for an invocation of `function` that comes with `header`, and how many
    earlier invocations of it there were in its chain. Cheap for the first in a chain."""
    mark = _mark_of(function)
    if "Lineage=" not in header:
        return _fitting(header, f"{mark}:0"), 0
    fields, rounds_of = _take_apart(header)
    rounds = rounds_of.pop(mark, -1) + 1
    rounds_of[mark] = rounds
    newest = list(rounds_of.items())[-MAX_FUNCTIONS:]
    lineage = "|".join(f"{other}:{count}" for other, count in newest)
    return _fitting(";".join(fields), lineage), rounds


def well_formed(header: str | None) -> bool:
    """Whether services take it for a trace header: one that they do not can cost the message."""
    if header is None or len(header) > MAX_HEADER_CHARS:
        return False
    fields = header.split(";")
    return any(_ROOT.fullmatch(field) for field in fields) and all(
        _WELL_FORMED.fullmatch(field) for field in fields
    )


def longest(headers: Iterable[str | None]) -> str | None:
    """Of the trace headers of a batch, the one that has been round most often; None: none has."""
    found, most = None, -1
    for header in headers:
        if header and len(header) <= MAX_HEADER_CHARS and header.isprintable():
            rounds = max(_take_apart(header)[1].values(), default=0)
            if rounds > most:
                found, most = header, rounds
    return found


@functools.lru_cache(maxsize=4096)
def _mark_of(function: FunctionId) -> str:
    return hashlib.sha256(function.arn.encode()).hexdigest()[:8]


def _take_apart(header: str) -> tuple[list[str], dict[str, int]]:
    """The fields without the lineage, and the lineage: mark → rounds."""
    fields = []
    rounds_of: dict[str, int] = {}
    for field in header.split(";"):
        name, _, value = field.strip().partition("=")
        if name != "Lineage":
            fields.append(field)
            continue
        for entry in value.split("|"):
            if match := _ENTRY.fullmatch(entry):
                rounds_of[match[1]] = max(int(match[2]), rounds_of.get(match[1], 0))
    return fields, rounds_of


def _fitting(header: str, lineage: str) -> str:
    """Header and lineage, without what leaves no room for the lineage."""
    whole = f"{header}{_FIELD}{lineage}"
    if len(whole) <= MAX_HEADER_CHARS:
        return whole
    known = ";".join(f for f in header.split(";") if f.strip().startswith(_KNOWN_FIELDS))
    whole = f"{known}{_FIELD}{lineage}"
    return whole if len(whole) <= MAX_HEADER_CHARS else f"{_FIELD}{lineage}".lstrip(";")
