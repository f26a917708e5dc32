"""Regular calls, and what all functions together tell of how long instances idle."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.manager.policies.idle_times import (
    BINS,
    FIRST_GUESS,
    LONGEST_S,
    STALE_AFTER_S,
    IdleTimes,
    bin_of,
)
from samovar.manager.policies.rhythm import STREAKS, Rhythm, Rhythms

HOUR_S = 3600.0


def called(rhythm: Rhythm, *gaps_s: float) -> float:
    """Let it hear calls with so much time between them; return when the last one was."""
    now = 1000.0
    rhythm.hear(now)
    for gap_s in gaps_s:
        now += gap_s
        rhythm.hear(now)
    return now


# ------------------------------------------------------------ rhythm


@pytest.mark.parametrize(
    ("gaps_s", "due_in_s"),
    [
        ([], None),
        ([HOUR_S], None),  # once is no rhythm
        ([HOUR_S, HOUR_S], HOUR_S),
        ([HOUR_S, HOUR_S + 30.0], HOUR_S + 7.5),  # late by less than a hundredth: the mean moves
        ([HOUR_S, HOUR_S + 60.0], None),  # by more
        ([HOUR_S, HOUR_S, 100.0], None),  # out of it
        ([100.0, HOUR_S, HOUR_S], HOUR_S),  # and into it
        ([5.0] * 10, None),  # too often to be foretold
    ],
)
def test_a_call_is_due_where_two_like_times_have_passed(
    gaps_s: Sequence[float], due_in_s: float | None
) -> None:
    rhythm = Rhythm(Rhythms())
    due = rhythm.due(called(rhythm, *gaps_s))
    assert (due and (due.begin_s + due.end_s) / 2) == (due_in_s and pytest.approx(due_in_s))


def test_what_is_due_is_known_to_some_seconds() -> None:
    rhythm = Rhythm(Rhythms())
    due = rhythm.due(called(rhythm, 60.0, 60.0))
    assert due is not None
    assert (due.begin_s, due.end_s) == pytest.approx((56.4, 63.6))


def test_an_hour_of_work_does_not_shift_what_is_due() -> None:
    rhythm = Rhythm(Rhythms())
    now = called(rhythm, 3 * HOUR_S, 3 * HOUR_S)
    due, afterwards = rhythm.due(now), rhythm.due(now + HOUR_S)
    assert due is not None and afterwards is not None
    assert afterwards.begin_s == pytest.approx(due.begin_s - HOUR_S)
    assert rhythm.due(now + 4 * HOUR_S) is None  # that was not in time


def test_how_often_rhythms_go_on_is_learnt_from_all() -> None:
    rhythms = Rhythms()
    for _ in range(20):
        called(Rhythm(rhythms), HOUR_S, HOUR_S, 100.0)
    rhythm = Rhythm(rhythms)
    assert rhythm.due(called(rhythm, HOUR_S, HOUR_S)) is None  # none of them went on
    for _ in range(200):
        called(Rhythm(rhythms), HOUR_S, HOUR_S, HOUR_S)
    due = rhythm.due(called(Rhythm(rhythms), HOUR_S, HOUR_S))
    assert due is not None and due.chance > 0.8


@given(kept=st.lists(st.booleans(), max_size=50))
def test_a_chance_is_never_none_and_never_certain(kept: list[bool]) -> None:
    rhythms = Rhythms()
    for one in kept:
        rhythms.tell(0, kept=one)
    assert all(0.0 < rhythms.chance(streak) < 1.0 for streak in range(STREAKS))


# ------------------------------------------------------------ idle times


def test_what_is_not_over_yet_counts_as_far_as_it_has_come() -> None:
    """Ten have ended after a minute; thirty have idled for an hour. So three in four come further
    than a minute, and of two hours nothing more is known than before."""
    before = IdleTimes().expected(0.0)
    idle = IdleTimes()
    for _ in range(10):
        idle.began(0.0)
        idle.ended(0.0, 60.0)
    for _ in range(30):
        idle.began(0.0)
    expected = idle.expected(HOUR_S)
    assert expected.shares[bin_of(60.0)] == pytest.approx(10 / 42, rel=0.05)
    assert expected.chances[bin_of(2 * HOUR_S)] == before.chances[bin_of(2 * HOUR_S)]
    assert sum(expected.shares) + expected.never == pytest.approx(1.0)


def test_before_there_are_any_all_octaves_are_alike() -> None:
    expected = IdleTimes().expected(0.0)
    assert expected.chances[BINS - 1] == pytest.approx(FIRST_GUESS / 6, rel=0.05)
    assert expected.never > 0.3


@given(
    ages=st.lists(st.tuples(st.floats(0, 2e6), st.sampled_from(["end", "forget", "stay"]))),
)
def test_what_has_begun_is_kept_for_as_long_as_bins_reach(ages: list[tuple[float, str]]) -> None:
    idle, now = IdleTimes(), 0.0
    for age_s, becomes in ages:
        idle.began(now)
        idle.expected(now + age_s)
        if becomes == "end":
            idle.ended(now, now + age_s)
        elif becomes == "forget":
            idle.forget(now)
        now += age_s + STALE_AFTER_S
        expected = idle.expected(now)
        assert all(0.0 <= chance <= 1.0 for chance in expected.chances)
        assert all(now - slot * 300.0 <= LONGEST_S for slot in idle._begun)
    assert sum(idle._begun.values()) + idle._ancient == sum(what == "stay" for _, what in ages)
