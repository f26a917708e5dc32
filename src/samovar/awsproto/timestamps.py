"""Timestamps in the three formats of AWS's protocols."""

from __future__ import annotations

import datetime as dt
import math
import re
from enum import StrEnum

from samovar.awsproto.shapes import Location, Shape


class Format(StrEnum):
    """A `timestampFormat` of the models."""

    EPOCH = "unixTimestamp"
    """Seconds, with a fraction."""
    ISO = "iso8601"
    HTTP = "rfc822"
    """The date of an HTTP header."""


DEFAULT_FORMATS = {
    Location.HEADER: Format.HTTP,
    Location.QUERY: Format.ISO,
    Location.URI: Format.ISO,
}
"""Of REST-JSON; `Format.EPOCH` elsewhere."""

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
HTTP_DATE = re.compile(
    r"\w{3}, (\d{1,2}) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d)(?:\.\d+)? GMT", re.ASCII
)
EPOCH_TEXT = re.compile(r"-?\d{1,12}(?:\.\d{1,9})?", re.ASCII)
MAX_ISO_CHARS = 64


def format_of(shape: Shape, location: Location) -> Format:
    """Return the format of a timestamp at a place."""
    if shape.timestamp_format:
        return Format(shape.timestamp_format)
    return DEFAULT_FORMATS.get(location, Format.EPOCH)


def from_number(seconds: float) -> dt.datetime:
    """Return the time so many seconds after the epoch, in UTC. Raises ValueError."""
    if not math.isfinite(seconds):
        raise ValueError("not a finite number")
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, OSError) as error:
        raise ValueError("out of range") from error


def from_text(text: str, form: Format) -> dt.datetime:
    """Read a timestamp, as UTC where it names no zone. Raises ValueError."""
    match form:
        case Format.EPOCH:
            if EPOCH_TEXT.fullmatch(text) is None:
                raise ValueError("not a number of seconds")
            return from_number(float(text))
        case Format.ISO:
            if len(text) > MAX_ISO_CHARS:
                raise ValueError("too long")
            try:
                return _utc(dt.datetime.fromisoformat(text))
            except OverflowError as error:
                raise ValueError("out of range") from error
        case Format.HTTP:
            parts = HTTP_DATE.fullmatch(text)
            if parts is None or parts[2] not in MONTHS:
                raise ValueError("not an HTTP date")
            day, year, hour, minute, second = (int(parts[i]) for i in (1, 3, 4, 5, 6))
            month = MONTHS.index(parts[2]) + 1
            return dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)


def to_number(time: dt.datetime) -> float:
    """Return seconds since the epoch, to the millisecond, as AWS does."""
    return round(_utc(time).timestamp(), 3)


def to_text(time: dt.datetime, form: Format) -> str:
    """Write a timestamp, to the millisecond; one that names no zone is UTC."""
    utc = _utc(time)
    match form:
        case Format.EPOCH:
            return repr(to_number(utc))
        case Format.ISO:
            precision = "milliseconds" if utc.microsecond else "seconds"
            return utc.replace(tzinfo=None).isoformat(timespec=precision) + "Z"
        case Format.HTTP:
            day, month = DAYS[utc.weekday()], MONTHS[utc.month - 1]
            return f"{day}, {utc.day:02d} {month} {utc.year:04d} {utc:%H:%M:%S} GMT"


def _utc(time: dt.datetime) -> dt.datetime:
    return time.astimezone(dt.UTC) if time.tzinfo else time.replace(tzinfo=dt.UTC)
