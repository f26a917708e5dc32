"""Takes events that are due and brings each to its target, at least once.

How this works. One loop (`_pump`) takes events from the store, queue by queue as `turns.py` says,
and starts a task for each. A new event that may begin at once is not even taken: it is written as
held by this dispatcher already (`claim`), and begins as soon as it is durable. After an attempt
`verdict.py` says what becomes of the event, and that is written, if the event is still ours. When
nothing is due the loop sleeps until something is, or is told of something new.

What is in memory is what is under way, which the windows bound, and the ends that are being
written. An attempt leaves its window as its end goes to the store, so that what comes next is taken
in the same transaction.

What the store has as held by this dispatcher and is not in memory was written by a transaction that
seemed to fail: its answer was lost. It is given back when it has been found so twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType

from msgspec import structs

from samovar.clock import Clock
from samovar.events.lease import Lease
from samovar.events.targets import Targets
from samovar.events.turns import Turns
from samovar.events.verdict import NotBegun, Rules, aged_out, postponed, verdict
from samovar.model.errors import PlatformError
from samovar.model.event import INTERNAL_ERROR, DeadEvent, Event, function_of_arn
from samovar.ports import EventStore, Taken, Verdict
from samovar.telemetry.log import get_logger

log = get_logger("events")

LOOK_AGAIN_S = 60.0
"""So often the store is asked what is due, should a message from another server be lost; and what
has been dead for long enough is forgotten."""

TRY_AGAIN_S = 1.0
"""The pause before a write is tried again that the store could not make."""

RulesOf = Callable[[Event], Awaitable[Rules]]
"""What applies to an event. Raises `PlatformError` where that cannot be found out now."""


@dataclass(frozen=True, slots=True)
class _Held:
    event: Event
    holder: str
    epoch: int

    @property
    def is_sent(self) -> bool:
        """And does not invoke."""
        return function_of_arn(self.event.target) is None


class Dispatcher:
    """Use as an async context manager: its tasks live inside. An `EventKeeper`."""

    def __init__(
        self,
        store: EventStore,
        targets: Targets,
        rules_of: RulesOf,
        turns: Turns,
        clock: Clock,
        *,
        dead_for_s: float = math.inf,
        shared: bool = False,
    ) -> None:
        """Dead events are kept for `dead_for_s`. `shared`: other servers may hold events of this
        store."""
        self._store = store
        self._targets = targets
        self._rules_of = rules_of
        self._turns = turns
        self._clock = clock
        self._dead_for_s = dead_for_s
        self._shared = shared
        self._lease = Lease(store, alone=not shared)
        self._tasks = asyncio.TaskGroup()
        self._attempts: dict[asyncio.Task[None], str] = {}
        """Until their ends are written. → id of the event."""
        self._unknown: tuple[str, frozenset[str]] = ("", frozenset())
        """Token, and what was held by it at the last look and not known here."""
        self._news = asyncio.Event()
        self._stop = asyncio.Event()
        self._at_rest = asyncio.Event()
        self._over = False
        self._look_at = -math.inf

    async def __aenter__(self) -> Dispatcher:
        self._store.attach(self)
        await self._store.sweep(everybody=not self._shared)
        await self._lease.begin()
        await self._tasks.__aenter__()
        self._tasks.create_task(self._lease.keep(self._stop), name="event-lease")
        self._tasks.create_task(self._pump(), name="event-pump")
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.drain(0)
        await self._tasks.__aexit__(None, None, None)
        await self._lease.end()

    async def drain(self, timeout_s: float) -> None:
        """Take nothing more; let what runs end within so many seconds, its end be written, and give
        back the rest."""
        self._stop.set()
        self._news.set()
        self._rest_if_idle()
        try:
            async with asyncio.timeout(timeout_s):
                await self._at_rest.wait()
        except TimeoutError:
            self._over = True
            for attempt in list(self._attempts):
                attempt.cancel()

    # ------------------------------------------------------------ the store's keeper

    def claim(self, event: Event) -> str | None:
        """See `stores.EventKeeper`."""
        token = self._lease.token
        if token is None or self._stop.is_set():
            return None
        now = self._clock.now()
        return token if self._turns.claim(event.queue, event.due_at, now) else None

    def begin(self, event: Event, holder: str) -> None:
        """See `stores.EventKeeper`."""
        if self._over:  # its holder gives it back, with all that it holds
            self._turns.done(event.queue)
            return
        held = _Held(event, holder, self._turns.epoch(event.queue))
        if held.is_sent:
            self._turns.sends(event.queue)
        task = self._tasks.create_task(self._bring(held))
        self._attempts[task] = event.id
        task.add_done_callback(self._ended)

    def unclaim(self, event: Event) -> None:
        """See `stores.EventKeeper`."""
        self._turns.done(event.queue)
        self._has_room()

    def waiting(self, queue: str, due_at: float) -> None:
        """See `stores.EventKeeper`."""
        self._turns.waiting(queue, due_at)
        self._news.set()

    def look_again(self) -> None:
        """See `stores.EventKeeper`."""
        self._look_at = -math.inf
        self._news.set()

    # ------------------------------------------------------------ taking

    async def _pump(self) -> None:
        while not self._stop.is_set():
            self._news.clear()
            try:
                wake_at = await self._go_round(self._clock.now())
            except Exception:  # of ours: the next round may do better
                log.exception("events met an error")
                wake_at = self._clock.now() + TRY_AGAIN_S
            with contextlib.suppress(TimeoutError):  # the clock may have been set back
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._clock.until(wake_at, or_when=self._news)

    async def _go_round(self, now: float) -> float:
        """Returns when to do so again, if there are no news before."""
        if not now < self._look_at <= now + LOOK_AGAIN_S:  # it is time, or the clock was set back
            self._look_at = now + LOOK_AGAIN_S
            await self._look(now)
        token = self._lease.token
        if token is None:
            return now + TRY_AGAIN_S
        await self._take_turns(token)
        return min(self._look_at, self._turns.next_at() or self._look_at)

    async def _look(self, now: float) -> None:
        """One chore that fails does not keep the others from being done, and is done soon."""
        for chore in (self._look_what_is_due, self._give_back_unknown, self._forget_dead):
            try:
                await chore(now)
            except Exception as error:
                log.warning("the events could not be looked at", error=str(error))
                self._look_at = min(self._look_at, now + TRY_AGAIN_S)

    async def _look_what_is_due(self, _now: float) -> None:
        for queue, due_at in (await self._store.due()).items():
            self._turns.waiting(queue, due_at)

    async def _give_back_unknown(self, _now: float) -> None:
        token = self._lease.token
        if token is None:
            return
        held = await self._store.held(token)
        unknown = frozenset(held).difference(self._attempts.values())
        before, self._unknown = self._unknown, (token, unknown)
        if before[0] == token and (lost := unknown & before[1]):
            log.warning("events were held that nobody here knows of", number=len(lost))
            await self._store.let_go(token, sorted(lost))

    async def _forget_dead(self, now: float) -> None:
        if self._dead_for_s < math.inf:
            await self._store.forget_dead(now - self._dead_for_s)

    async def _take_turns(self, token: str) -> None:
        """All of them at once, so that they share a transaction."""
        now = self._clock.now()
        async with asyncio.TaskGroup() as takes:
            while (turn := self._turns.next(now)) is not None:
                takes.create_task(self._take(token, *turn, now))

    async def _take(self, token: str, queue: str, limit: int, now: float) -> None:
        try:
            taken = await self._store.take(token, queue, limit, now)
        except Exception as error:
            log.warning("events could not be taken", queue=queue, error=str(error))
            taken = Taken((), now + TRY_AGAIN_S)
        next_due_at = taken.next_due_at
        if not taken.events and next_due_at is not None:  # somebody else was faster
            next_due_at = max(next_due_at, now + TRY_AGAIN_S)
        self._turns.took(queue, limit, len(taken.events), next_due_at)
        for event in taken.events:
            self.begin(event, token)

    # ------------------------------------------------------------ attempts

    async def _bring(self, held: _Held) -> None:
        outcome: Verdict | None = None
        try:
            outcome = await self._outcome(held)
        finally:
            self._done(held)  # what comes next is taken as this is written, together
        if outcome is not None:
            await self._settle(held, outcome)
            return
        try:
            await self._store.give_back(held.holder, held.event)
        except Exception as error:  # its holder gives it back, with all that it holds
            log.warning("an event was not given back", event_id=held.event.id, error=str(error))

    async def _outcome(self, held: _Held) -> Verdict | None:
        """None: the attempt has not begun, and will not here."""
        event = held.event
        try:
            try:
                rules = await self._rules_of(event)
            except PlatformError as error:
                why, now = str(error), self._clock.now()
                return None if self._stop.is_set() else postponed(event, why, now)
            too_late = aged_out(event, rules, self._clock.now())
            attempt = too_late or await self._targets.attempt(event)
            begun = not isinstance(attempt, NotBegun) or attempt.lasting
            if self._stop.is_set() and not begun:
                return None
            now = self._clock.now()
            self._learn(held, begun, now)
            return verdict(event, attempt, rules, now)
        except Exception as error:  # of ours: one event must not end the dispatcher
            log.exception("an event met an error", event_id=event.id)
            return self._given_up(event, error)

    def _learn(self, held: _Held, begun: bool, now: float) -> None:
        """Whether its queue has room. What is sent says nothing of the function's room."""
        if held.is_sent:
            return
        if begun:
            self._turns.begun(held.event.queue, held.epoch)
        else:
            self._turns.throttled(held.event.queue, held.epoch, now)

    async def _settle(self, held: _Held, outcome: Verdict) -> None:
        """Write what becomes of an event, however often that takes."""
        while True:
            try:
                if not await self._store.settle(held.holder, held.event, outcome):
                    log.warning("an event was lost to another holder", event_id=held.event.id)
                return
            except PlatformError as error:
                log.warning(
                    "the end of an event was not written", event_id=held.event.id, error=str(error)
                )
            except Exception as error:  # it cannot be written, whatever we do
                log.exception("the end of an event cannot be written", event_id=held.event.id)
                outcome = self._given_up(held.event, error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TRY_AGAIN_S):
                    await self._stop.wait()
                    return  # its holder gives it back, with all that it holds

    def _given_up(self, event: Event, error: Exception) -> Verdict:
        """Kept, so that whoever mends what is wrong may replay it."""
        failed = structs.replace(event, last_error=f"Internal error: {type(error).__name__}")
        dead = DeadEvent(event=failed, reason=INTERNAL_ERROR, died_at=self._clock.now())
        return Verdict(dead=dead)

    def _done(self, held: _Held) -> None:
        if held.is_sent:
            self._turns.sent(held.event.queue)
        else:
            self._turns.done(held.event.queue)
        self._has_room()

    def _has_room(self) -> None:
        self._news.set()
        self._rest_if_idle()

    def _ended(self, attempt: asyncio.Task[None]) -> None:
        del self._attempts[attempt]
        self._rest_if_idle()

    def _rest_if_idle(self) -> None:
        if self._stop.is_set() and not self._turns.under_way and not self._attempts:
            self._at_rest.set()
