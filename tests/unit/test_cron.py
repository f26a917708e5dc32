"""AWS's cron expressions: read from tables, and against an oracle that tries every minute."""

from __future__ import annotations

import calendar
import datetime as dt
import itertools
import zoneinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samovar.model.cron import ExpressionError, parse_cron

UTC = dt.UTC


def fires(fields, after, count=1, zone="UTC"):
    """The next times, as a clock in the zone shows them."""
    cron, tz = parse_cron(fields), zoneinfo.ZoneInfo(zone)
    moment = dt.datetime.fromisoformat(after).replace(tzinfo=tz)
    return [
        found.astimezone(tz).strftime("%Y-%m-%d %H:%M %Z")
        for found in itertools.islice(cron.moments_after(moment, tz), count)
    ]


@pytest.mark.parametrize(
    ("fields", "after", "expected"),
    [
        ("0 10 * * ? *", "2026-11-23T10:00", ["2026-11-24 10:00"]),
        ("15 12 * * ? *", "2026-11-23T12:14:59", ["2026-11-23 12:15"]),
        ("0 18 ? * MON-FRI *", "2026-11-27T18:00", ["2026-11-30 18:00"]),
        ("0 8 1 * ? *", "2026-12-01T08:00", ["2027-01-01 08:00"]),
        ("0/15 * * * ? *", "2026-11-23T23:46", ["2026-11-24 00:00", "2026-11-24 00:15"]),
        ("1/10 3 * * ? *", "2026-11-23T03:40", ["2026-11-23 03:41", "2026-11-23 03:51"]),
        ("0/5 8-17 ? * mon-fri *", "2026-11-23T17:54", ["2026-11-23 17:55", "2026-11-24 08:00"]),
        ("0-15/1 8-8 ? * 2,3,4,5,6,7 *", "2026-11-23T08:15", ["2026-11-24 08:00"]),
        ("30 0 ? * 1,7 *", "2026-11-23T00:00", ["2026-11-28 00:30", "2026-11-29 00:30"]),
        # The last day, also of leap years; a day that most months do not have.
        ("0 0 L * ? *", "2028-02-01T00:00", ["2028-02-29 00:00", "2028-03-31 00:00"]),
        ("0 0 L 2 ? *", "2099-03-01T00:00", ["2100-02-28 00:00"]),
        ("0 0 31 * ? *", "2026-11-23T00:00", ["2026-12-31 00:00", "2027-01-31 00:00"]),
        ("0 0 29 2 ? *", "2026-01-01T00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        # Weekdays: near a day, never out of its month.
        ("0 0 15W * ? *", "2026-08-01T00:00", ["2026-08-14 00:00", "2026-09-15 00:00"]),
        ("0 0 1W 8 ? *", "2026-01-01T00:00", ["2026-08-03 00:00"]),
        ("0 0 31W 5 ? *", "2026-01-01T00:00", ["2026-05-29 00:00"]),
        ("0 0 31W * ? *", "2026-04-01T00:00", ["2026-05-29 00:00"]),
        ("0 0 LW * ? *", "2026-05-01T00:00", ["2026-05-29 00:00", "2026-06-30 00:00"]),
        ("0 0 1,L * ? *", "2026-11-23T00:00", ["2026-11-30 00:00", "2026-12-01 00:00"]),
        # Weeks of the month.
        ("0 0 ? * 3#2 *", "2026-11-01T00:00", ["2026-11-10 00:00", "2026-12-08 00:00"]),
        ("0 0 ? * TUE#5 *", "2026-11-23T00:00", ["2026-12-29 00:00", "2027-03-30 00:00"]),
        ("15 10 ? * 6L *", "2026-11-01T00:00", ["2026-11-27 10:15", "2026-12-25 10:15"]),
        ("0 0 ? * FRIL *", "2026-11-01T00:00", ["2026-11-27 00:00"]),
        ("0 0 ? * L *", "2026-11-23T00:00", ["2026-11-28 00:00", "2026-12-05 00:00"]),
        # Over the end.
        ("0 22-1 * * ? *", "2026-11-23T23:00", ["2026-11-24 00:00", "2026-11-24 01:00"]),
        ("0 0 ? * FRI-SUN *", "2026-11-26T00:00", ["2026-11-27 00:00", "2026-11-28 00:00"]),
        ("0 0 1 NOV-FEB ? *", "2026-12-02T00:00", ["2027-01-01 00:00", "2027-02-01 00:00"]),
        ("0 0 1 1 ? 2030/10", "2026-01-01T00:00", ["2030-01-01 00:00", "2040-01-01 00:00"]),
        ("59 23 31 12 ? 2199", "2026-01-01T00:00", ["2199-12-31 23:59"]),
    ],
)
def test_the_next_times_of_an_expression(fields, after, expected):
    assert fires(fields, after, len(expected)) == [f"{time} UTC" for time in expected]


@pytest.mark.parametrize(
    "fields", ["0 0 31 2 ? *", "0 0 30 2 ? 2000-2199", "0 0 1 1 ? 2020", "0 0 31W 4 ? *"]
)
def test_what_never_comes_ends_soon(fields):
    assert fires(fields, "2026-01-01T00:00") == []


@pytest.mark.parametrize(
    ("zone", "fields", "after", "expected"),
    [
        # Spring: what the clock does not show is left out.
        (
            "America/New_York",
            "30 2 * * ? *",
            "2026-03-07T02:30",
            ["2026-03-09 02:30 EDT"],
        ),
        (
            "Europe/Berlin",
            "0/30 2 * * ? *",
            "2026-03-28T02:30",
            ["2026-03-30 02:00 CEST", "2026-03-30 02:30 CEST"],
        ),
        (
            "Europe/London",
            "0 * * * ? *",
            "2026-03-29T00:00",
            ["2026-03-29 02:00 BST", "2026-03-29 03:00 BST"],
        ),
        ("Australia/Lord_Howe", "15,45 2 * * ? *", "2026-10-04T00:00", ["2026-10-04 02:45 +11"]),
        # Autumn: what it shows twice counts once.
        (
            "America/New_York",
            "30 1 * * ? *",
            "2026-10-31T12:00",
            ["2026-11-01 01:30 EDT", "2026-11-02 01:30 EST"],
        ),
        (
            "Europe/Berlin",
            "0 * * * ? *",
            "2026-10-25T01:00",
            ["2026-10-25 02:00 CEST", "2026-10-25 03:00 CET"],
        ),
        # A day that an island left out.
        ("Pacific/Apia", "0 0 * * ? *", "2011-12-29T00:00", ["2011-12-31 00:00 +14"]),
        ("Asia/Kolkata", "0 9 * * ? *", "2026-11-23T00:00", ["2026-11-23 09:00 IST"]),
    ],
)
def test_daylight_saving_time(zone, fields, after, expected):
    assert fires(fields, after, len(expected), zone) == expected


def test_the_second_of_two_equal_hours_is_later_than_the_first():
    zone = zoneinfo.ZoneInfo("America/New_York")
    again = dt.datetime(2026, 11, 1, 1, 10, fold=1, tzinfo=zone)
    found = next(parse_cron("30 1 * * ? *").moments_after(again, zone))
    assert found == dt.datetime(2026, 11, 2, 1, 30, tzinfo=zone)


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "* * * * *",
        "0 0 * * ? * *",
        "0 0 * * * *",
        "0 0 ? * ? *",
        "0 0 1 * MON *",
        "60 0 * * ? *",
        "0 24 * * ? *",
        "0 0 0 * ? *",
        "0 0 32 * ? *",
        "0 0 32W * ? *",
        "0 0 L-3 * ? *",
        "0 0 1 13 ? *",
        "0 0 1 FOO ? *",
        "0 0 ? * 0 *",
        "0 0 ? * 8 *",
        "0 0 ? * 3#6 *",
        "0 0 ? * 3#1,6#3 *",
        "0 0 ? * LW *",
        "0 0 * * ? 1969",
        "0 0 * * ? 2200",
        "0/0 * * * ? *",
        "/5 * * * ? *",
        "1- * * * ? *",
        "1,,2 * * * ? *",
        "1-2-3 * * * ? *",
        "+1 * * * ? *",
        "٣ * * * ? *",
        "? * * * ? *",
        "99999999999999999999 * * * ? *",
    ],
)
def test_what_means_nothing_is_refused(fields):
    with pytest.raises(ExpressionError):
        parse_cron(fields)


# ---------------------------------------------------------------- against an oracle


def days_that_match(year, month):
    """Day fields, with what they stand for said in another way."""
    days = [dt.date(year, month, day) for day in range(1, calendar.monthrange(year, month)[1] + 1)]
    return {
        ("*", "?"): days,
        ("?", "MON-FRI"): [day for day in days if day.isoweekday() <= 5],
        ("L", "?"): days[-1:],
        ("13", "?"): days[12:13],
        ("?", "6L"): [day for day in days if day.isoweekday() == 5][-1:],
        ("?", "SUN#1"): [day for day in days if day.isoweekday() == 7][:1],
    }


@st.composite
def expressions(draw):
    """Fields, and the predicate that a minute must fulfil."""
    numbers = st.integers(0, 59)
    minutes = draw(st.sets(numbers, min_size=1, max_size=4))
    hours = draw(st.sets(st.integers(0, 23), min_size=1, max_size=4))
    months = draw(st.sets(st.integers(1, 12), min_size=1, max_size=12))
    day, weekday = draw(st.sampled_from(sorted(days_that_match(2026, 1))))

    def listed(values):
        return ",".join(map(str, values))

    def matches(time):
        return (
            time.minute in minutes
            and time.hour in hours
            and time.month in months
            and time.date() in days_that_match(time.year, time.month)[day, weekday]
        )

    return f"{listed(minutes)} {listed(hours)} {day} {listed(months)} {weekday} *", matches


@settings(max_examples=60, deadline=None)
@given(
    expressions(),
    st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2029, 1, 1)),
    st.sampled_from(["UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_no_minute_that_matches_is_left_out_and_none_that_does_not_is_taken(
    expression, after, zone_name
):
    fields, matches = expression
    zone = zoneinfo.ZoneInfo(zone_name)
    start = after.replace(tzinfo=zone).astimezone(UTC)
    found = next(parse_cron(fields).moments_after(start, zone))
    assert found > start
    assert matches(found.astimezone(zone).replace(tzinfo=None))
    # No minute in between matches, but second showings of one: days without a match are skipped
    # by their dates, or this would take minutes itself.
    minute = start.replace(second=0, microsecond=0) + dt.timedelta(minutes=1)
    horizon = min(found, minute + dt.timedelta(days=3))
    while minute < horizon:
        shown = minute.astimezone(zone)
        assert shown.fold or not matches(shown.replace(tzinfo=None)), shown
        minute += dt.timedelta(minutes=1)
