"""AWS's cron expressions: six fields, read and followed through a calendar.

    minutes  hours  day-of-month  month  day-of-week  year
    0-59     0-23   1-31          1-12   1-7, SUN-SAT 1970-2199
    , - * /  , - * /  , - * ? / L W      , - * ? L #     , - * /

Exactly one of the two day fields is `?`. `L` is the month's last day (in day-of-week: Saturday),
`LW` its last weekday, `3W` the weekday nearest to the third within the month, `6L` the month's last
Friday, `3#2` its second Tuesday. Ranges may go over the end: `FRI-MON`, `22-2`.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based

How this works. Years, months and days that fit are walked in order, days from a month's own
calendar, so that an expression that never fires costs a walk over years, not over minutes.

Libraries were looked at: cronsim and croniter have neither the years nor AWS's weekdays nor its
rules for daylight saving time, and those for AWS's expressions know no time zones.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

FIRST_YEAR, LAST_YEAR = 1970, 2199

MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if name}
WEEKDAYS = {name: n for n, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"), 1)}
SATURDAY = 7

DaysOf = Callable[[int, int], set[int]]
"""The days of a month (year, month) that something stands for."""

_NUMBER = re.compile(r"\d{1,4}", re.ASCII)


class ExpressionError(ValueError):
    """An expression that means nothing; the message says why."""


@dataclass(frozen=True, slots=True)
class Cron:
    """One expression, read. Its times are those of a wall clock: of no zone in particular."""

    minutes: Sequence[int]
    hours: Sequence[int]
    days: Sequence[DaysOf]
    months: Sequence[int]
    years: Sequence[int]

    def times_from(self, start: dt.datetime) -> Iterator[dt.datetime]:
        """The minutes that match, from `start` (naive) on, to the end of 2199."""
        start_minute = (start.hour, start.minute)
        if start.second or start.microsecond:
            start_minute = (start.hour, start.minute + 1)
        for day in self._days_from(start.date()):
            earliest = start_minute if day == start.date() else (0, 0)
            for hour in self.hours[bisect_left(self.hours, earliest[0]) :]:
                for minute in self.minutes:
                    if (hour, minute) >= earliest:
                        yield dt.datetime.combine(day, dt.time(hour, minute))

    def moments_after(self, after: dt.datetime, zone: dt.tzinfo) -> Iterator[dt.datetime]:
        """The moments later than `after` (aware) at which a clock in `zone` shows times that match.

        A time that the clock skips (spring) is skipped; one that it shows twice (autumn) counts the
        first time: https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#daylist-savings-time
        """
        local = after.astimezone(zone).replace(tzinfo=None, fold=0)
        for time in self.times_from(local):
            moment = time.replace(tzinfo=zone).astimezone(dt.UTC)
            shown = moment.astimezone(zone).replace(tzinfo=None)
            if shown == time and moment > after:
                yield moment

    def _days_from(self, first: dt.date) -> Iterator[dt.date]:
        for year in self.years[bisect_left(self.years, first.year) :]:
            for month in self.months:
                if (year, month) < (first.year, first.month):
                    continue
                of_month = set[int]().union(*(days(year, month) for days in self.days))
                for day in sorted(of_month):
                    if (found := dt.date(year, month, day)) >= first:
                        yield found


def parse_cron(text: str) -> Cron:
    """Read what stands between the parentheses of `cron(…)`. Raises `ExpressionError`."""
    fields = text.upper().split()
    if len(fields) != 6:
        raise ExpressionError(f"cron has six fields, not {len(fields)}")
    minutes, hours, days, months, weekdays, years = fields
    if (days == "?") == (weekdays == "?"):
        raise ExpressionError("exactly one of day-of-month and day-of-week must be ?")
    return Cron(
        minutes=sorted(_list("minutes", minutes, range(60))),
        hours=sorted(_list("hours", hours, range(24))),
        days=_days_of_month(days) if weekdays == "?" else _days_of_week(weekdays),
        months=sorted(_list("month", months, range(1, 13), MONTHS)),
        years=sorted(_list("year", years, range(FIRST_YEAR, LAST_YEAR + 1))),
    )


# ---------------------------------------------------------------- fields of numbers


def _list(field: str, text: str, all_of: range, names: Mapping[str, int] | None = None) -> set[int]:
    """The values of `1,5-10,*/15`."""
    found: set[int] = set()
    for item in text.split(","):
        found |= _range(field, item, all_of, names or {})
    return found


def _range(field: str, text: str, all_of: range, names: Mapping[str, int]) -> set[int]:
    span, slash, step_text = text.partition("/")
    first_text, dash, last_text = span.partition("-")
    step = 1
    if slash:
        step = _value(field, step_text, range(1, LAST_YEAR + 1), {})
    if span == "*":
        return set(all_of[::step])
    first = _value(field, first_text, all_of, names)
    last = first
    if dash:
        last = _value(field, last_text, all_of, names)
    elif slash:
        last = all_of[-1]
    if last >= first:
        return set(range(first, last + 1, step))
    over_the_end = [*range(first, all_of[-1] + 1), *range(all_of[0], last + 1)]
    return set(over_the_end[::step])


def _value(field: str, text: str, all_of: range, names: Mapping[str, int]) -> int:
    value = names.get(text)
    if value is None and _NUMBER.fullmatch(text):
        value = int(text)
    if value is None or value not in all_of:
        raise ExpressionError(f"{text!r} is no {field}, or not one in {all_of[0]}-{all_of[-1]}")
    return value


# ---------------------------------------------------------------- the two fields of days


def _days_of_month(text: str) -> list[DaysOf]:
    return [_day_of_month(item) for item in text.split(",")]


def _day_of_month(item: str) -> DaysOf:
    if item == "L":
        return lambda year, month: {_length(year, month)}
    if item == "LW":
        return lambda year, month: {_nearest_weekday(year, month, _length(year, month))}
    if item.endswith("W"):
        near = _value("day-of-month", item[:-1], range(1, 32), {})
        return lambda year, month: (
            {_nearest_weekday(year, month, near)} if near <= _length(year, month) else set()
        )
    wanted = _range("day-of-month", item, range(1, 32), {})
    return lambda year, month: {day for day in wanted if day <= _length(year, month)}


def _days_of_week(text: str) -> list[DaysOf]:
    items = text.split(",")
    if "#" in text and len(items) > 1:
        raise ExpressionError("day-of-week with # must be the only one")
    return [_day_of_week(item) for item in items]


def _day_of_week(item: str) -> DaysOf:
    all_of = range(1, 8)
    if item == "L":
        wanted = {SATURDAY}
    elif "#" in item:
        day_text, _, nth_text = item.partition("#")
        weekday = _value("day-of-week", day_text, all_of, WEEKDAYS)
        nth = _value("week of the month", nth_text, range(1, 6), {})
        return lambda year, month: set(_on(year, month, {weekday})[nth - 1 : nth])
    elif item.endswith("L"):
        weekday = _value("day-of-week", item[:-1], all_of, WEEKDAYS)
        return lambda year, month: {_on(year, month, {weekday})[-1]}
    else:
        wanted = _range("day-of-week", item, all_of, WEEKDAYS)
    return lambda year, month: set(_on(year, month, wanted))


def _length(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _on(year: int, month: int, weekdays: set[int]) -> list[int]:
    """A month's days that are such weekdays (1: Sunday), in order."""
    first_is, length = calendar.monthrange(year, month)  # 0: Monday
    return [day for day in range(1, length + 1) if (first_is + day) % 7 + 1 in weekdays]


def _nearest_weekday(year: int, month: int, day: int) -> int:
    """The weekday nearest to a day, within its month."""
    weekday = calendar.weekday(year, month, day)
    if weekday == calendar.SATURDAY:
        return day - 1 if day > 1 else 3
    if weekday == calendar.SUNDAY:
        return day + 1 if day < _length(year, month) else day - 2
    return day
