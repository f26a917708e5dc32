"""Single values from the wire: from JSON, and from the text of a URI, a query or a header.

The wording of errors is Coral's, AWS's own service framework, quirks included.
"""

from __future__ import annotations

import binascii
import datetime as dt
import math
import re
from typing import Any

from samovar.awsproto import timestamps
from samovar.awsproto.jsonbody import serialization_error
from samovar.awsproto.shapes import INT_BOUNDS, Kind, Location, Shape
from samovar.awsproto.timestamps import Format
from samovar.model.errors import PlatformError

INTEGER_TEXT = re.compile(r"[+-]?\d{1,19}", re.ASCII)
FLOAT_TEXT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
MAX_NUMBER_CHARS = 64

TRUTHS = {"true": True, "yes": True, "y": True, "t": True, "1": True} | {
    "false": False,
    "no": False,
    "n": False,
    "f": False,
    "0": False,
}
"""Strings that AWS takes for a boolean, in any case."""

TYPE_NAMES = {
    Kind.STRING: "a String",
    Kind.INTEGER: "an Integer",
    Kind.LONG: "a Long",
    Kind.FLOAT: "a Float",
    Kind.DOUBLE: "a Double",
    Kind.BOOLEAN: "a Boolean",
    Kind.BLOB: "a Blob",
    Kind.TIMESTAMP: "milliseconds since epoch",
}


def from_json(shape: Shape, value: object) -> Any:
    """Return a scalar from what JSON has at its place. Raises SERIALIZATION."""
    match shape.kind:
        case Kind.STRING:
            if isinstance(value, str):
                return value
        case Kind.BOOLEAN:
            if isinstance(value, bool):
                return value
            if isinstance(value, str):
                return _boolean(value)
        case Kind.INTEGER | Kind.LONG:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return _integer(shape.kind, value)
        case Kind.FLOAT | Kind.DOUBLE:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return _float(shape.kind, value)
        case Kind.BLOB:
            if isinstance(value, str):
                return blob(value)
        case Kind.TIMESTAMP:
            form = timestamps.format_of(shape, Location.BODY)
            if isinstance(value, str) and form is not Format.EPOCH:
                return timestamp(value, form)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return _time(value)
    raise mismatch(shape.kind, value)


def from_text(shape: Shape, text: str, location: Location) -> Any:
    """Return a scalar from its text in a URI, a query or a header. Raises SERIALIZATION."""
    match shape.kind:
        case Kind.STRING:
            return text
        case Kind.BOOLEAN:
            return _boolean(text)
        case Kind.INTEGER | Kind.LONG:
            if INTEGER_TEXT.fullmatch(text):
                return _integer(shape.kind, int(text))
        case Kind.FLOAT | Kind.DOUBLE:
            if len(text) <= MAX_NUMBER_CHARS and FLOAT_TEXT.fullmatch(text):
                return _float(shape.kind, float(text))
        case Kind.BLOB:
            return blob(text)
        case Kind.TIMESTAMP:
            return timestamp(text, timestamps.format_of(shape, location))
    raise mismatch(shape.kind, text)


def mismatch(kind: Kind, value: object) -> PlatformError:
    """Return AWS's error for a value of the wrong JSON type where a scalar belongs."""
    if isinstance(value, list):
        return serialization_error("Start of list found where not expected")
    if isinstance(value, dict):
        return serialization_error("Start of structure or map found where not expected.")
    if isinstance(value, bool):
        found = "TRUE_VALUE" if value else "FALSE_VALUE"
    elif isinstance(value, str):
        found = "STRING_VALUE"
    else:
        found = "NUMBER_VALUE"
    return serialization_error(f"{found} can not be converted to {TYPE_NAMES[kind]}")


def blob(text: str) -> bytes:
    """Decode base64. Raises SERIALIZATION."""
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError as error:
        raise serialization_error("Expected a base64 encoded value") from error


def timestamp(text: str, form: Format) -> dt.datetime:
    """Read a timestamp. Raises SERIALIZATION."""
    try:
        return timestamps.from_text(text, form)
    except ValueError as error:
        raise mismatch(Kind.TIMESTAMP, text) from error


def _time(seconds: float) -> dt.datetime:
    try:
        return timestamps.from_number(seconds)
    except (ValueError, OverflowError) as error:
        raise mismatch(Kind.TIMESTAMP, seconds) from error


def _boolean(text: str) -> bool:
    truth = TRUTHS.get(text.lower())
    if truth is None:
        raise serialization_error("STRING_VALUE can not be converted to an Boolean")
    return truth


def _integer(kind: Kind, value: float) -> int:
    bound = INT_BOUNDS[kind]
    # First the bound: an infinite or huge float has no int. Then: a fraction is not an integer.
    if not -bound <= value < bound or value != int(value):
        raise mismatch(kind, value)
    return int(value)


def _float(kind: Kind, value: float) -> float:
    try:
        number = float(value)
    except OverflowError as error:
        raise mismatch(kind, value) from error
    if not math.isfinite(number):
        raise mismatch(kind, value)
    return number
