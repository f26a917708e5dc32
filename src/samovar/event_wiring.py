"""Builds the events role: what brings events to their targets, polls event sources, and fires
schedules. `wiring.py` enters it when it can invoke, and leaves it before that ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from samovar.clock import Clock
from samovar.config import Config
from samovar.event_admin import EventAdmin
from samovar.events.clients import AwsClients
from samovar.events.dispatcher import Dispatcher
from samovar.events.rules import RuleBook
from samovar.events.schedules.ticker import Ticker
from samovar.events.senders import Senders
from samovar.events.sources.reconciler import Reconciler
from samovar.events.sources.registry import source_kinds
from samovar.events.targets import ReservedConcurrency, Targets
from samovar.events.turns import Turns
from samovar.model.event import function_of_arn
from samovar.ports import EventQueue, Invoker, ScheduleGroupStore, ScheduleStore
from samovar.store.database import Database
from samovar.store.event_admin import SqlEventAdmin
from samovar.store.event_sources import SqlEventSourceStore
from samovar.store.event_writes import MIB, EventBounds
from samovar.store.events import SqlEventStore
from samovar.store.schedule_groups import SqlScheduleGroupStore
from samovar.store.schedules import SqlScheduleStore


@dataclass(frozen=True, slots=True)
class Schedules:
    """Schedules, and what fires them."""

    store: ScheduleStore
    groups: ScheduleGroupStore
    ticker: Ticker


@dataclass(frozen=True, slots=True)
class EventsRole:
    """What the rest of the platform needs of the events role."""

    queue: EventQueue
    admin: EventAdmin
    store: SqlEventStore
    dispatcher: Dispatcher
    source_store: SqlEventSourceStore
    sources: Reconciler
    schedules: Schedules

    async def at_rest(self, now: float) -> bool:
        """Whether no schedule is due by now, and no event is due or under way."""
        next_at = await self.schedules.store.next_at()  # first: what fires is an event then
        return (next_at is None or next_at > now) and not await self.admin.busy(now)

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing more; let what runs end within so many seconds, give back the rest."""
        self.schedules.ticker.stop()
        async with asyncio.TaskGroup() as drains:
            drains.create_task(self.sources.drain(timeout_s))
            drains.create_task(self.dispatcher.drain(timeout_s))


@contextlib.asynccontextmanager
async def events_role(
    config: Config,
    database: Database,
    invoker: Invoker,
    reserved_concurrency: ReservedConcurrency,
    rules: RuleBook,
    clock: Clock,
) -> AsyncIterator[EventsRole]:
    """The events role, at work."""
    bounds = EventBounds(
        queue_events=config.event_queue_events,
        queue_bytes=config.event_queue_mib * MIB,
        all_bytes=config.event_store_mib * MIB,
        dead_events=config.dead_events,
    )
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(SqlEventStore(database, bounds))

        def bound_of(queue: str) -> int:
            named = function_of_arn(queue)
            reserved = reserved_concurrency(named[0]) if named is not None else None
            return min(config.event_concurrency, reserved or config.event_concurrency)

        clients = await stack.enter_async_context(AwsClients(config))
        dispatcher = Dispatcher(
            store,
            Targets(invoker, Senders(clients), reserved_concurrency),
            rules.rules_of,
            Turns(bound_of, config.events_at_once),
            clock,
            dead_for_s=config.dead_event_days * 86_400,
            shared=database.is_shared,
        )
        await stack.enter_async_context(dispatcher)
        source_store = SqlEventSourceStore(database, config.max_event_sources)
        kinds = source_kinds(clients, config)
        sources = Reconciler(
            source_store,
            invoker,
            store,
            kinds,
            clock,
            shared=database.is_shared,
        )
        await stack.enter_async_context(sources.polling())
        schedules = await stack.enter_async_context(_schedules(config, database, store, clock))
        admin = SqlEventAdmin(database, bounds, dispatcher.waiting)
        yield EventsRole(store, admin, store, dispatcher, source_store, sources, schedules)


@contextlib.asynccontextmanager
async def _schedules(
    config: Config, database: Database, events: SqlEventStore, clock: Clock
) -> AsyncIterator[Schedules]:
    store = SqlScheduleStore(database, events.accept_if, config.max_schedules)
    groups = SqlScheduleGroupStore(database)
    async with Ticker(store, groups, clock, shared=database.is_shared) as ticker:
        yield Schedules(store, groups, ticker)
