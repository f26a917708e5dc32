"""When schedules fire, and what they do after an absence. Pure: the clock is a number."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.model.schedule import ScheduleState
from samovar.model.schedule_plan import MAX_AT_ONCE, MAX_COUNTED, due
from tests.unit.schedule_samples import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    NOON,
    a_schedule,
    clock_times,
    planned,
)


def does(plan, now, lived_from=None, draw=0.0):
    return due(plan, now, now if lived_from is None else lived_from, lambda: draw)


def test_what_is_on_time_fires_for_its_tick_and_goes_on_to_the_next():
    what = does(planned(a_schedule()), NOON)
    assert clock_times(what.ticks) == ["23 12:00:00"]
    assert what.missed == 0
    assert clock_times([what.then.tick_at, what.then.next_at]) == ["23 12:05:00"] * 2


def test_a_little_late_it_still_counts_from_its_creation():
    what = does(planned(a_schedule()), NOON + 17.3)
    assert clock_times(what.ticks) == ["23 12:00:00"]
    assert clock_times([what.then.tick_at]) == ["23 12:05:00"]


@pytest.mark.parametrize(
    ("expression", "absent_s", "fired", "missed"),
    [
        ("rate(5 minutes)", 4 * MINUTE_S, ["23 12:00:00"], 0),
        ("rate(5 minutes)", 8 * HOUR_S + 1, ["23 20:00:00"], 96),
        ("rate(1 day)", 20 * DAY_S + HOUR_S, ["13 12:00:00"], 20),
        ("cron(0 * * * ? *)", 8 * HOUR_S + MINUTE_S, ["23 20:00:00"], 8),
        ("cron(30 6 * * ? *)", 3 * DAY_S, ["26 06:30:00"], 2),
        ("cron(* * * * ? *)", 2 * DAY_S, ["25 12:00:00"], MAX_COUNTED - 1),
        ("at(2026-11-23T12:00:00)", 23 * HOUR_S, ["23 12:00:00"], 0),
    ],
)
def test_after_an_absence_the_latest_tick_fires_and_the_others_are_counted(
    expression, absent_s, fired, missed
):
    what = does(planned(a_schedule(expression)), NOON + absent_s)
    assert clock_times(what.ticks) == fired
    assert what.missed == missed
    assert what.then.missed == missed
    assert what.then.next_at is None or what.then.next_at > NOON + absent_s


@pytest.mark.parametrize(
    ("expression", "max_age_s", "absent_s", "missed"),
    [
        ("at(2026-11-23T12:00:00)", 86400, DAY_S + 1, 1),
        ("cron(0 12 * * ? *)", 600, 11 * MINUTE_S, 1),
        ("cron(0 12 1 * ? *)", 86400, 41 * DAY_S, 2),
        ("rate(7 days)", 3600, 8 * DAY_S, 2),
    ],
)
def test_a_tick_older_than_its_events_may_be_is_missed(expression, max_age_s, absent_s, missed):
    schedule = a_schedule(expression, target={"max_age_s": max_age_s})
    what = does(planned(schedule), NOON + absent_s)
    assert (list(what.ticks), what.missed) == ([], missed)


def test_time_that_was_lived_through_fires_every_tick():
    what = does(planned(a_schedule()), NOON + HOUR_S, lived_from=NOON - 1)
    assert len(what.ticks) == 13
    assert what.missed == 0


def test_what_came_before_the_time_that_was_lived_through_is_missed():
    what = does(planned(a_schedule()), NOON + HOUR_S, lived_from=NOON + HOUR_S - 10 * MINUTE_S)
    assert clock_times(what.ticks) == ["23 12:50:00", "23 12:55:00", "23 13:00:00"]
    assert what.missed == 10


def test_even_time_lived_through_has_its_limit():
    plan, now, fired = planned(a_schedule("rate(1 minute)")), NOON + 30 * DAY_S, 0
    while plan.next_at <= now:
        what = does(plan, now, lived_from=NOON)
        assert len(what.ticks) <= MAX_AT_ONCE
        fired, plan = fired + len(what.ticks), what.then
    assert fired == 24 * 60 + 1
    assert plan.missed == 29 * 24 * 60


def test_a_schedule_that_is_done_stays_or_goes():
    once = "at(2026-11-23T12:00:00)"
    stays = does(planned(a_schedule(once)), NOON)
    assert (stays.then.tick_at, stays.then.next_at) == (None, None)
    goes = does(planned(a_schedule(once, delete_when_done=True)), NOON)
    assert goes.then is None
    assert len(goes.ticks) == 1


def test_the_last_tick_before_the_end_deletes_it():
    end = dt.datetime(2026, 11, 23, 12, 7, tzinfo=dt.UTC)
    schedule = a_schedule(end=end, delete_when_done=True)
    first = does(planned(schedule), NOON)
    assert clock_times([first.then.tick_at]) == ["23 12:05:00"]
    assert does(first.then, NOON + 300).then is None


def test_what_is_to_go_when_it_is_done_goes_though_it_never_fires():
    end = dt.datetime(2026, 11, 23, 12, 7, tzinfo=dt.UTC)
    plan = planned(a_schedule("rate(1 day)", end=end, delete_when_done=True), after=NOON)
    assert (plan.tick_at, plan.next_at) == (None, NOON)
    what = does(plan, NOON)
    assert (list(what.ticks), what.missed, what.then) == ([], 0, None)


def test_after_its_end_no_tick_is_missed():
    end = dt.datetime(2026, 11, 23, 12, 7, tzinfo=dt.UTC)
    what = does(planned(a_schedule(end=end)), NOON + 2 * HOUR_S)
    assert clock_times(what.ticks) == ["23 12:05:00"]
    assert what.missed == 1
    assert what.then.next_at is None


def test_what_is_disabled_has_no_next_time():
    assert planned(a_schedule(state=ScheduleState.DISABLED)).next_at is None


@given(
    st.sampled_from(["rate(1 minute)", "rate(7 hours)", "cron(0/20 * * * ? *)"]),
    st.lists(st.floats(0, 10 * HOUR_S), max_size=12),
    st.integers(0, 90),
    st.sampled_from([60, 3600, 86400]),
    st.booleans(),
)
def test_whenever_somebody_looks_each_tick_fires_once_or_is_missed(
    expression, pauses, window_minutes, max_age_s, lived
):
    schedule = a_schedule(
        expression, window_minutes=window_minutes, target={"max_age_s": max_age_s}
    )
    plan, now, fired, looked_at = planned(schedule, draw=0.5), NOON, [], NOON
    for pause in pauses:
        now += pause
        if plan.next_at <= now:
            what = does(plan, now, looked_at if lived else None, draw=0.5)
            fired, plan = [*fired, *what.ticks], what.then
        looked_at = now
    assert fired == sorted(set(fired))
    ticks, tick = 0, schedule.next_tick(NOON - 1)
    while tick < plan.tick_at:
        ticks, tick = ticks + 1, schedule.next_tick(tick)
    assert len(fired) + plan.missed == ticks


# ---------------------------------------------------------------- flexible windows


@pytest.mark.parametrize(
    ("expression", "window_minutes", "draw", "fires"),
    [
        ("rate(1 hour)", 15, 0.0, "23 12:00:00"),
        ("rate(1 hour)", 15, 0.5, "23 12:07:30"),
        ("rate(1 hour)", 15, 0.999, "23 12:14:59"),
        ("at(2026-11-23T12:00:00)", 1440, 0.5, "24 00:00:00"),
        ("rate(5 minutes)", 60, 0.5, "23 12:02:30"),  # never after the next tick
    ],
)
def test_it_fires_at_a_random_moment_of_its_window(expression, window_minutes, draw, fires):
    plan = planned(a_schedule(expression, window_minutes=window_minutes), draw=draw)
    assert clock_times([plan.tick_at, plan.next_at]) == ["23 12:00:00", fires]
    what = does(plan, plan.next_at)
    assert clock_times(what.ticks) == ["23 12:00:00"]
    assert what.missed == 0


def test_it_does_not_fire_after_its_end():
    end = dt.datetime(2026, 11, 23, 12, 10, tzinfo=dt.UTC)
    schedule = a_schedule("cron(0 12 * * ? *)", window_minutes=60, end=end)
    assert clock_times([planned(schedule, draw=0.5).next_at]) == ["23 12:05:00"]


def test_a_tick_is_not_late_within_its_window():
    schedule = a_schedule("cron(0 12 * * ? *)", window_minutes=600, target={"max_age_s": 60})
    plan = planned(schedule, draw=0.9)
    assert clock_times(does(plan, plan.next_at).ticks) == ["23 12:00:00"]
