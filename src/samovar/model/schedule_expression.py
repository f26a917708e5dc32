"""Schedule expressions: `rate(5 minutes)`, `cron(0 9 ? * MON-FRI *)`, `at(2027-01-01T00:00:00)`.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from dataclasses import dataclass
from functools import lru_cache

from samovar.model.cron import FIRST_YEAR, LAST_YEAR, Cron, ExpressionError, parse_cron

UNITS_S = {"minute": 60, "hour": 3600, "day": 86400}
"""A day is 24 hours, whatever the clocks do."""

LONGEST_RATE_S = 100 * 366 * 86400

_FORM = re.compile(r"(at|cron|rate)\((.*)\)", re.DOTALL)
_RATE = re.compile(r"\s*(\d{1,10})\s+(minute|hour|day)s?\s*", re.ASCII)
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_ZONE = re.compile(r"(?!posix/|right/)[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", re.ASCII)
_NO_ZONES = frozenset({"localtime", "posixrules", "Factory"})
"""Files of the zone database that are not zones of the world."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Again and again, counted from the schedule's start or creation."""

    every_s: int


@dataclass(frozen=True, slots=True)
class At:
    """Once, at a time on a wall clock."""

    local: dt.datetime

    def moment(self, zone: dt.tzinfo) -> float:
        """When that is, in seconds since the epoch. A time that the clock shows twice is the first
        one; for one that it skips, it is when the clock would have shown it."""
        return self.local.replace(tzinfo=zone).timestamp()


Expression = Rate | Cron | At


@lru_cache(maxsize=4096)
def parse_expression(text: str) -> Expression:
    """Read an expression. Raises `ExpressionError`."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise ExpressionError("it must be at(…), cron(…) or rate(…)")
    kind, inner = form.groups()
    if kind == "cron":
        return parse_cron(inner)
    return _rate(inner) if kind == "rate" else _at(inner)


def _rate(text: str) -> Rate:
    parts = _RATE.fullmatch(text)
    if parts is None:
        raise ExpressionError("a rate is a positive number of minutes, hours or days")
    every_s = int(parts[1]) * UNITS_S[parts[2]]
    if not 0 < every_s <= LONGEST_RATE_S:
        raise ExpressionError("a rate is between a minute and a hundred years")
    return Rate(every_s)


def _at(text: str) -> At:
    try:
        local = dt.datetime.fromisoformat(text) if _AT.fullmatch(text) else None
    except ValueError:
        local = None
    if local is None or not FIRST_YEAR <= local.year <= LAST_YEAR:
        raise ExpressionError("a time is written yyyy-mm-ddThh:mm:ss")
    return At(local)


def parse_timezone(name: str) -> zoneinfo.ZoneInfo:
    """The IANA time zone of that name. Raises `ExpressionError`."""
    if _ZONE.fullmatch(name) and name not in _NO_ZONES:
        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise ExpressionError(f"{name!r} is no time zone of the IANA database")
