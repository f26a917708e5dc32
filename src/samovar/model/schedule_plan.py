"""When a schedule fires next, and what it does then. Pure: time and randomness are given.

Rules that are the platform's own, for AWS's scheduler is never down. A tick that nobody was there
for, because the platform was down or its machine asleep, is *overdue*. Of the overdue ticks of a
schedule the latest one fires, late, if it is younger than the retry policy's greatest age; the
others are *missed*: counted and told. So nothing piles up over a long absence, and a daily schedule
loses no day to a restart at the wrong minute. Time that was skipped with the test controls counts
as lived through: each tick in it fires.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import msgspec

from samovar.model.schedule import Schedule, ScheduleState, just_before
from samovar.model.schedule_expression import Rate, parse_expression

MINUTE_S = 60.0
HOUR_S = 3600.0

MAX_AT_ONCE = 20
"""Ticks that fire together, each with an input of up to 256 KiB; it is still due for others."""

MAX_COUNTED = 1000
"""Missed ticks of a cron expression that are counted one by one at once: the number that is told
is a lower bound then."""

Random = Callable[[], float]
"""From 0 to 1, 1 not included."""


class PlannedSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule, and what it is to do next."""

    schedule: Schedule
    revision: str
    """Another one whenever its owner changes it."""
    tick_at: float | None
    """Its next tick; None: there is none, or it is disabled."""
    next_at: float | None
    """When it fires for that: later than the tick by a random part of its flexible window. Without
    a tick: when it is to be deleted."""
    missed: int = 0
    """Ticks that it did not fire for, ever."""


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """What a schedule that is due does now."""

    ticks: Sequence[float]
    """Those that it fires for."""
    missed: int
    """How many others have passed since it last fired."""
    then: PlannedSchedule | None
    """What it does after that; None: it is to be deleted."""


def plan(
    schedule: Schedule, revision: str, after: float, random: Random, missed: int = 0
) -> PlannedSchedule:
    """What a schedule does next, later than `after`."""
    tick = fires_at = None
    if schedule.state is ScheduleState.ENABLED:
        tick = schedule.next_tick(after)
        if tick is not None:
            fires_at = tick + random() * _window_s(schedule, tick)
        elif schedule.delete_when_done:
            fires_at = after
    return PlannedSchedule(
        schedule=schedule, revision=revision, tick_at=tick, next_at=fires_at, missed=missed
    )


def due(planned: PlannedSchedule, now: float, lived_from: float, random: Random) -> Due:
    """What a planned schedule does at `now`, having come to its time. `lived_from`: since when the
    ticks have all been lived through (`now`: from now on)."""
    schedule, first = planned.schedule, planned.tick_at
    if first is None:
        return Due(ticks=(), missed=0, then=None)
    ticks = _ticks_to_fire(schedule, first, now, lived_from)
    until = now
    if len(ticks) > MAX_AT_ONCE:
        ticks = ticks[:MAX_AT_ONCE]
        until = ticks[-1]
    missed = max(0, _count(schedule, first, until) - len(ticks))
    then = plan(schedule, planned.revision, until, random, planned.missed + missed)
    done = then.tick_at is None and schedule.delete_when_done
    return Due(ticks=ticks, missed=missed, then=None if done else then)


def _ticks_to_fire(
    schedule: Schedule, first: float, now: float, lived_from: float
) -> Sequence[float]:
    patience_s = schedule.target.max_age_s + schedule.window_minutes * MINUTE_S
    young_from = max(first, now - patience_s)
    lived = list(_between(schedule, max(young_from, lived_from), now))
    if lived:
        return lived
    latest = _latest(schedule, young_from, now)
    return [] if latest is None else [latest]


def _latest(schedule: Schedule, earliest: float, now: float) -> float | None:
    """The last tick from `earliest` to `now`: looked for in stretches that double, backwards."""
    stretch_s, end = HOUR_S, now
    while end >= earliest:
        begin = max(earliest, end - stretch_s)
        found = max(_between(schedule, begin, end), default=None)
        if found is not None:
            return found
        if begin == earliest:
            break
        end, stretch_s = begin, 2 * stretch_s
    return None


def _between(schedule: Schedule, begin: float, end: float) -> Iterator[float]:
    """The ticks from `begin` to `end`, both included."""
    return itertools.takewhile(lambda tick: tick <= end, schedule.ticks(just_before(begin)))


def _count(schedule: Schedule, first: float, now: float) -> int:
    expression = parse_expression(schedule.expression)
    if isinstance(expression, Rate):
        end = now if schedule.end is None else min(now, schedule.end.timestamp())
        return max(0, int((end - first) // expression.every_s) + 1)
    return sum(1 for _ in itertools.islice(_between(schedule, first, now), MAX_COUNTED))


def _window_s(schedule: Schedule, tick: float) -> float:
    """How long after a tick it may fire: never after the next one, nor after its end."""
    window_s = schedule.window_minutes * MINUTE_S
    if not window_s or schedule.once:
        return window_s
    following = schedule.next_tick(tick)
    if following is not None:
        window_s = min(window_s, following - tick)
    if schedule.end is not None:
        window_s = min(window_s, schedule.end.timestamp() - tick)
    return window_s
