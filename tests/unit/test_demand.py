"""How many blanks wait, by the starts of late."""

from __future__ import annotations

import pytest

from samovar.sandbox.process.demand import FEW, REMEMBERED_S, Demand

MOST = 8
LATER_S = 1000.0 + REMEMBERED_S
"""The beginning is forgotten."""


def demand(*starts_s: float, most: int = MOST) -> Demand:
    """Of a runtime that began at 1000 and has had these starts, in seconds after `LATER_S`."""
    built = Demand(most, 1000.0)
    for start_s in starts_s:
        built.started(LATER_S + start_s)
    return built


def test_a_runtime_that_is_new_has_as_many_as_it_may() -> None:
    built = Demand(MOST, 1000.0)
    assert built.wanted(1000.0) == MOST
    assert built.wanted(LATER_S - 1) == MOST


def test_where_nothing_starts_a_few_wait() -> None:
    assert demand().wanted(LATER_S) == FEW


@pytest.mark.parametrize("count", [1, 3, 5])
def test_as_many_wait_as_came_at_once_and_a_few_more(count: int) -> None:
    assert demand(*[0.1] * count).wanted(LATER_S + 1) == FEW + count


def test_a_burst_may_lie_across_two_windows() -> None:
    assert demand(0.24, 0.24, 0.26).wanted(LATER_S + 1) == FEW + 3


def test_starts_that_come_one_by_one_are_no_burst() -> None:
    assert demand(*range(60)).wanted(LATER_S + 60) == FEW + 1


def test_never_more_than_the_most() -> None:
    assert demand(*[0.0] * 100).wanted(LATER_S + 1) == MOST
    assert demand(*[0.0] * 100, most=0).wanted(LATER_S + 1) == 0


def test_a_burst_is_forgotten_after_a_while() -> None:
    built = demand(*[0.0] * 5, 200.0)
    assert built.wanted(LATER_S + REMEMBERED_S - 1) == FEW + 5
    assert built.wanted(LATER_S + REMEMBERED_S + 11) == FEW + 1
    assert built.wanted(LATER_S + 200 + REMEMBERED_S + 11) == FEW


def test_what_is_remembered_is_bounded() -> None:
    built = Demand(MOST, 0.0)
    for number in range(20_000):
        built.started(number / 10)
        built.wanted(number / 10)
    assert len(built._bursts) <= REMEMBERED_S / 10 + 2
