"""Fires schedules when their time has come.

How this works. One task sleeps until the first of all schedules is due, or something has changed.
Then it takes those that are due, in batches, decides in a thread what each does (`schedule_plan`;
a cron expression may take milliseconds to follow over a long absence), and has all of that written:
a schedule's next time and its events in one transaction, which finds out whether it still was what
was decided upon. So a tick is neither lost nor doubled, whoever dies when.

Groups that are being deleted are emptied here too, a part in each round.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from msgspec import structs

from samovar.clock import Clock
from samovar.events.schedules.occurrence import event_of
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.invocation import new_request_id
from samovar.model.schedule_plan import PlannedSchedule, due
from samovar.ports import Firing, ScheduleGroupStore, ScheduleStore
from samovar.telemetry.log import get_logger

log = get_logger("schedules")

AT_ONCE = 100
"""Schedules in a batch: an input may have 256 KiB."""

SWEEP_AT_ONCE = 1000

SHOWN = 10
"""Names in one line of the log."""

LOOK_AGAIN_S = 60.0
"""So often the store is looked at where other servers may have changed it, and a schedule that is
due and cannot fire."""

TRY_AGAIN_S = 1.0
"""The pause before the store is asked again that failed."""


@dataclass(frozen=True, slots=True)
class _Decision:
    firing: Firing
    missed: int
    """Ticks that have passed and do not fire."""


class Ticker:
    """Use as an async context manager: its task lives inside."""

    def __init__(
        self,
        schedules: ScheduleStore,
        groups: ScheduleGroupStore,
        clock: Clock,
        draw: Callable[[], float] = random.random,
        new_id: Callable[[], str] = new_request_id,
        *,
        shared: bool = False,
    ) -> None:
        """`shared`: other servers may change what is in the stores."""
        self._schedules = schedules
        self._groups = groups
        self._clock = clock
        self._draw = draw
        self._new_id = new_id
        self._shared = shared
        self._news = asyncio.Event()
        self._stopping = False
        self._looked_at, self._was_ahead_s = clock.now(), clock.ahead_s
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Ticker:
        await self._tasks.__aenter__()
        self._tasks.create_task(self._run(), name="schedules")
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()
        await self._tasks.__aexit__(None, None, None)

    def changed(self) -> None:
        """A schedule may be due earlier than it was, or a group is to be deleted."""
        self._news.set()

    def stop(self) -> None:
        """Fire nothing more; what is under way is written."""
        self._stopping = True
        self._news.set()

    # ------------------------------------------------------------ rounds

    async def _run(self) -> None:
        while not self._stopping:
            self._news.clear()
            try:
                wake_at = await self._round()
            except PlatformError as error:
                log.warning("schedules could not be fired", error=str(error))
                wake_at = self._clock.now() + TRY_AGAIN_S
            except Exception:  # a row that cannot be read, say: other events must go on
                log.exception("schedules could not be fired")
                wake_at = self._clock.now() + LOOK_AGAIN_S
            await self._clock.until(wake_at, or_when=self._news)

    async def _round(self) -> float | None:
        """Fire all that is due. Returns when to look again."""
        more_to_sweep = await self._groups.sweep(SWEEP_AT_ONCE)
        now, ahead_s = self._clock.now(), self._clock.ahead_s
        lived_from = self._looked_at if ahead_s > self._was_ahead_s else now
        while not self._stopping:
            batch = await self._schedules.due(now, AT_ONCE)
            if not batch:
                break
            await self._fire_all(batch, now, lived_from)
        self._looked_at, self._was_ahead_s = now, ahead_s
        if more_to_sweep:
            return now
        next_at = await self._schedules.next_at()
        if self._shared:
            return min(next_at or math.inf, now + LOOK_AGAIN_S)
        return next_at

    async def _fire_all(
        self, batch: Sequence[PlannedSchedule], now: float, lived_from: float
    ) -> None:
        decided = await asyncio.to_thread(self._decide, batch, now, lived_from)
        outcomes = await asyncio.gather(
            *(self._fire(decision, now) for decision in decided), return_exceptions=True
        )
        missed = {
            decision.firing.was.schedule.id.arn: outcome
            for decision, outcome in zip(decided, outcomes, strict=True)
            if isinstance(outcome, int) and outcome
        }
        if missed:
            log.warning(
                "schedules have missed ticks",
                ticks=sum(missed.values()),
                schedules=len(missed),
                of_them=list(missed)[:SHOWN],
            )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def _decide(
        self, batch: Sequence[PlannedSchedule], now: float, lived_from: float
    ) -> Sequence[_Decision]:
        return [self._decide_one(planned, now, lived_from) for planned in batch]

    def _decide_one(self, was: PlannedSchedule, now: float, lived_from: float) -> _Decision:
        schedule = was.schedule
        try:
            does = due(was, now, lived_from, self._draw)
            events = [event_of(schedule, tick, now, self._new_id()) for tick in does.ticks]
        except Exception:  # a time zone that the machine does not know just now, say
            log.exception("a schedule cannot fire", arn=schedule.id.arn)
            return _Decision(_later(was, now + LOOK_AGAIN_S), 0)
        return _Decision(Firing(was, does.then, events), does.missed)

    async def _fire(self, decision: _Decision, now: float) -> int:
        """Returns how many ticks it has missed by this."""
        firing = decision.firing
        try:
            fired = await self._schedules.fire(firing)
        except PlatformError as error:
            if error.code is not ErrorCode.TOO_MANY_REQUESTS:
                raise
            # Its tick stays due, until another one comes or it is too old.
            log.warning("a schedule cannot fire yet", error=error.message)
            await self._schedules.fire(_later(firing.was, now + LOOK_AGAIN_S))
            return 0
        return decision.missed if fired else 0


def _later(was: PlannedSchedule, next_at: float) -> Firing:
    """It does not fire now, and is looked at again then."""
    return Firing(was, structs.replace(was, next_at=next_at), ())
