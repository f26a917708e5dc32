"""States of events are not stored, they follow from the rows: whatever is done to an event moves it
as the transition table says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import structs

from samovar.event_admin import EventFilter
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import EVENT_MOVES, DeadEvent, EventState
from samovar.ports import Verdict
from samovar.store.database import Database
from samovar.store.event_admin import SqlEventAdmin
from samovar.store.event_writes import EventBounds
from samovar.store.events import SqlEventStore
from tests.contract.kept_events import GONE, LEASE_S, NOW, event
from tests.contract.samples import ACCOUNT, REGION, function_id

LATER = NOW + 100
"""When everything is due."""


class One:
    """One event, with a queue and a holder of its own."""

    def __init__(self, store: SqlEventStore, admin: SqlEventAdmin, name: str) -> None:
        self.store = store
        self.admin = admin
        self.event = event(name, function_id(name).arn)
        self.holder = f"holder of {name}"
        self.alone = EventFilter(ACCOUNT, REGION, ids=[name])

    async def be(self, state: EventState) -> None:
        """Get there from the beginning."""
        await self.store.hold(self.holder, LEASE_S)
        await self.store.accept(self.event)
        steps = {
            EventState.QUEUED: (),
            EventState.RUNNING: (self.take,),
            EventState.RETRYING: (self.take, self.try_again),
            EventState.DEAD: (self.take, self.die),
            EventState.GONE: (self.take, self.end),
        }
        for step in steps[state]:
            await step()
        assert await self.state() is state

    async def state(self) -> EventState:
        try:
            return (await self.admin.get(self.alone, self.event.id)).state
        except PlatformError as error:
            assert error.code is ErrorCode.NOT_FOUND
            return EventState.GONE

    async def take(self) -> None:
        await self.store.take(self.holder, self.event.queue, 1, LATER)

    async def end(self) -> None:
        await self.store.settle(self.holder, self.event, GONE)

    async def try_again(self) -> None:
        again = structs.replace(self.event, failures=1)
        await self.store.settle(self.holder, self.event, Verdict(again=again))

    async def die(self) -> None:
        dead = DeadEvent(event=self.event, reason="RetriesExhausted", died_at=NOW)
        await self.store.settle(self.holder, self.event, Verdict(dead=dead))

    async def give_back(self) -> None:
        await self.store.give_back(self.holder, self.event)

    async def let_go(self) -> None:
        await self.store.let_go(self.holder, [self.event.id])

    async def leave(self) -> None:
        await self.store.leave(self.holder)

    async def sweep(self) -> None:
        await self.store.sweep(everybody=True)

    async def replay(self) -> None:
        await self.admin.replay(self.alone, LATER, 1)

    async def purge(self) -> None:
        await self.admin.purge(self.alone, 1)

    async def forget(self) -> None:
        await self.store.forget_dead(LATER)


DEEDS: tuple[Callable[[One], Awaitable[None]], ...] = (
    One.take,
    One.end,
    One.try_again,
    One.die,
    One.give_back,
    One.let_go,
    One.leave,
    One.sweep,
    One.replay,
    One.purge,
    One.forget,
)


async def test_events_make_every_move_of_the_table_and_no_other(database: Database) -> None:
    seen = set()
    async with SqlEventStore(database) as store:
        admin = SqlEventAdmin(database, EventBounds(), lambda queue, due_at: None)
        for state in EventState:
            for number, deed in enumerate(DEEDS):
                one = One(store, admin, f"{state}-{number}")
                await one.be(state)
                await deed(one)
                seen.add((state, await one.state()))
    moves = {(old, new) for old, reached in EVENT_MOVES.items() for new in reached}
    assert {(old, new) for old, new in seen if old is not new} == moves
