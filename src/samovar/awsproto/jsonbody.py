"""JSON bodies from clients that nobody trusts: bounded before they are decoded.

A decoder turns a few bytes into a Python object many times as large, and recurses once a level.
So structure is counted first, without decoding: depth, and the number of values. Most bodies pass
by counting characters; one that could be over a bound is scanned exactly, with what is inside
strings skipped (a base64 package or an embedded document has no structure).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from samovar.model.errors import ErrorCode, PlatformError

MAX_DEPTH = 64
MAX_VALUES = 100_000

STRUCTURE = re.compile(rb'(?:[^"{}\[\],]++|"(?:[^"\\]++|\\.)*+")*+([{}\[\],])', re.DOTALL)
"""Up to the next structural character outside a string. Possessive: it never backtracks."""


def serialization_error(message: str) -> PlatformError:
    """Return AWS's answer to a body that cannot be read at all."""
    return PlatformError(ErrorCode.SERIALIZATION, message)


def decode(body: bytes) -> Any:
    """Return what a JSON body says. Raises SERIALIZATION."""
    check_bounds(body)
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise serialization_error(f"The request body is not valid JSON: {error}") from error


def decode_object(body: bytes) -> dict[str, Any]:
    """Return the object that a body is; an empty body is an empty object. Raises SERIALIZATION."""
    if not body or body.isspace():
        return {}
    value = decode(body)
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        raise serialization_error("Start of list found where not expected")
    raise serialization_error("The request body must be a JSON object")


def check_bounds(body: bytes) -> None:
    """Raise SERIALIZATION where a body nests too deep or holds too many values.

    Malformed bodies pass: finding that out is the decoder's work.
    """
    openers = body.count(b"{") + body.count(b"[")
    if openers <= MAX_DEPTH and openers + body.count(b",") <= MAX_VALUES:
        return
    depth = values = position = 0
    while match := STRUCTURE.match(body, position):
        position = match.end()
        character = match[1]
        if character in b"{[":
            depth += 1
        elif character in b"}]":
            depth -= 1
        values += 1
        if depth > MAX_DEPTH:
            raise serialization_error(f"The request body nests deeper than {MAX_DEPTH} levels")
        if values > MAX_VALUES:
            raise serialization_error(f"The request body holds more than {MAX_VALUES} values")
