"""Schedule expressions, time zones, and the ticks that a schedule's start and end allow."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.model.cron import Cron, ExpressionError
from samovar.model.schedule import Schedule, ScheduleId, ScheduleTarget
from samovar.model.schedule_expression import At, Rate, parse_expression, parse_timezone

CREATED = dt.datetime(2026, 11, 23, 14, 0, 30, tzinfo=dt.UTC)


def schedule(expression, **more):
    return Schedule(
        id=ScheduleId("000000000000", "us-east-1", "default", "s"),
        expression=expression,
        target=ScheduleTarget(arn="arn:aws:lambda:us-east-1:000000000000:function:f", role_arn="r"),
        created=CREATED,
        last_modified=CREATED,
        **more,
    )


def ticks(of, after, count=3):
    """The next ticks, as UTC."""
    moment, found = dt.datetime.fromisoformat(after + "+00:00").timestamp(), []
    while len(found) < count and (moment := of.next_tick(moment)) is not None:
        found.append(dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%m-%d %H:%M:%S"))
    return found


@pytest.mark.parametrize(
    ("text", "every_s"),
    [("rate(1 minute)", 60), ("rate(5 minutes)", 300), ("rate(1 hours)", 3600),
     ("rate(12 hours)", 43200), ("rate(7 days)", 604800), ("rate( 1  day )", 86400)],
)  # fmt: skip
def test_rates(text, every_s):
    assert parse_expression(text) == Rate(every_s)


def test_a_time_and_a_cron():
    assert parse_expression("at(2027-01-02T03:04:05)") == At(dt.datetime(2027, 1, 2, 3, 4, 5))
    assert isinstance(parse_expression("cron(0 0 * * ? *)"), Cron)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5 minutes",
        "rate(0 minutes)",
        "rate(-1 minutes)",
        "rate(1.5 hours)",
        "rate(5 seconds)",
        "rate(5minutes)",
        "rate(1 week)",
        "rate(9999999999 days)",
        "rate(5 minutes) ",
        "Rate(5 minutes)",
        "at(2027-02-29T00:00:00)",
        "at(2027-01-01)",
        "at(2027-01-01T00:00)",
        "at(2027-01-01 00:00:00)",
        "at(2027-01-01T00:00:00Z)",
        "at(2027-01-01T24:00:00)",
        "at(0001-01-01T00:00:00)",
        "at(9999-01-01T00:00:00)",
        "cron(0 0 * * ? *",
        "cron()",
        "cron((((((((((",
    ],
)
def test_what_is_no_expression(text):
    with pytest.raises(ExpressionError):
        parse_expression(text)


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "localtime", "posix/UTC", "UTC\0",
     "right/UTC", "Europe", "Europe/", "europe//berlin", "x" * 50, "posixrules"],
)  # fmt: skip
def test_what_is_no_time_zone(name):
    with pytest.raises(ExpressionError):
        parse_timezone(name)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5"])
def test_time_zones(name):
    assert parse_timezone(name).key == name


def test_a_rate_begins_at_once_and_counts_from_the_schedules_creation():
    every = schedule("rate(5 minutes)")
    assert ticks(every, "2026-11-23T14:00:29") == ["11-23 14:00:30", "11-23 14:05:30",
                                                   "11-23 14:10:30"]  # fmt: skip


def test_a_rate_counts_from_its_start_date_and_its_days_have_24_hours():
    start = dt.datetime(2026, 3, 28, 9, tzinfo=dt.UTC)
    every = schedule("rate(1 days)", start=start, timezone="Europe/Berlin")
    assert ticks(every, "2026-01-01T00:00:00") == ["03-28 09:00:00", "03-29 09:00:00",
                                                   "03-30 09:00:00"]  # fmt: skip


def test_nothing_fires_before_the_start_or_after_the_end():
    some = schedule(
        "cron(0 * * * ? *)",
        start=dt.datetime(2026, 12, 1, 9, tzinfo=dt.UTC),
        end=dt.datetime(2026, 12, 1, 10, 30, tzinfo=dt.UTC),
    )
    assert ticks(some, "2026-11-23T00:00:00") == ["12-01 09:00:00", "12-01 10:00:00"]


@pytest.mark.parametrize(
    ("local", "zone", "expected"),
    [
        ("2026-12-24T18:00:00", "Europe/Berlin", ["12-24 17:00:00"]),
        ("2026-12-24T18:00:00", "UTC", ["12-24 18:00:00"]),
        ("2027-03-28T02:30:00", "Europe/Berlin", ["03-28 01:30:00"]),  # skipped: 03:30 there
        ("2027-10-31T02:30:00", "Europe/Berlin", ["10-31 00:30:00"]),  # twice: the first
    ],
)
def test_a_time_comes_once_whatever_start_and_end_say(local, zone, expected):
    end = dt.datetime(2026, 11, 24, tzinfo=dt.UTC)
    once = schedule(f"at({local})", timezone=zone, start=end, end=end)
    assert ticks(once, "2026-11-23T00:00:00") == expected


@given(
    st.integers(1, 10_000),
    st.floats(0, 4e9, allow_nan=False),
    st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2060, 1, 1)),
)
def test_the_next_tick_of_a_rate_is_later_and_no_interval_is_left_out(minutes, after, start):
    every = schedule(f"rate({minutes} minutes)", start=start.replace(tzinfo=dt.UTC))
    first = every.start.timestamp()
    tick = every.next_tick(after)
    assert tick > after
    assert tick == first or tick - minutes * 60 <= after + 1e-3
    assert every.next_tick(tick) > tick


@pytest.mark.parametrize("expression", ["rate(36500 days)", "cron(* * * * ? *)"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati"])
def test_nothing_fires_after_2199(expression, zone):
    year = {"timezone": zone, "start": dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)}
    assert schedule(expression, **year).next_tick(0) is None
    late = schedule(expression, timezone=zone)
    assert late.next_tick(dt.datetime(2200, 1, 1, tzinfo=dt.UTC).timestamp()) is None
