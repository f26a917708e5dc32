"""Pollers run as the mappings in the store want them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from msgspec import structs

from samovar.clock import Clock
from samovar.events.sources.plan import Plan, plan
from samovar.events.sources.poller import Feed, SourceError
from samovar.events.sources.reconciler import Reconciler
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_source import (
    MAPPING_MOVES,
    EventSourceMapping,
    MappingState,
    SourceKind,
    begin,
    settle,
)
from tests.contract.samples import a_version
from tests.unit.fake_feed import mapping, until

S = MappingState

LEGAL_MOVES = {
    (S.CREATING, S.ENABLED),
    (S.CREATING, S.DISABLED),
    (S.ENABLED, S.DISABLING),
    (S.ENABLED, S.UPDATING),
    (S.ENABLED, S.DELETING),
    (S.DISABLED, S.ENABLING),
    (S.DISABLED, S.UPDATING),
    (S.DISABLED, S.DELETING),
    (S.ENABLING, S.ENABLED),
    (S.DISABLING, S.DISABLED),
    (S.UPDATING, S.ENABLED),
    (S.UPDATING, S.DISABLED),
    (S.DELETING, S.GONE),
}


@pytest.mark.parametrize(("old", "new"), list(itertools.product(S, S)))
def test_a_mapping_moves_as_its_table_says(old, new):
    assert (new in MAPPING_MOVES[old]) == ((old, new) in LEGAL_MOVES)


@pytest.mark.parametrize("state", [S.CREATING, S.UPDATING, S.ENABLING, S.DISABLING, S.DELETING])
def test_a_mapping_on_its_way_takes_no_other_request(state):
    with pytest.raises(PlatformError, match="because it is in use") as refused:
        begin(mapping(state=state), S.DELETING, "delete")
    assert refused.value.code is ErrorCode.RESOURCE_IN_USE


@pytest.mark.parametrize(
    ("state", "enabled", "settled"),
    [
        (S.CREATING, True, S.ENABLED),
        (S.CREATING, False, S.DISABLED),
        (S.UPDATING, True, S.ENABLED),
        (S.UPDATING, False, S.DISABLED),
        (S.ENABLING, True, S.ENABLED),
        (S.DISABLING, False, S.DISABLED),
        (S.DELETING, True, S.DELETING),
        (S.ENABLED, True, S.ENABLED),
    ],
)
def test_a_mapping_settles_where_its_owner_wants_it(state, enabled, settled):
    now = dt.datetime(2026, 2, 2, tzinfo=dt.UTC)
    after = settle(mapping(state=state, enabled=enabled), now)
    assert after.state is settled
    assert (after.last_modified == now) is (after.state is not state)


NEW = mapping(uuid="new", state=S.CREATING)
OFF = mapping(uuid="off", state=S.DISABLING, enabled=False)
OUT = mapping(uuid="out", state=S.DELETING)
NEWER = mapping(uuid="newer", state=S.UPDATING, revision=2)
GOOD = mapping(uuid="good")

PLANS = [
    ([NEW], {}, Plan([], [NEW], ["new"], [])),
    ([NEW], {"new": 1}, Plan([], [], ["new"], [])),
    ([OFF], {"off": 1}, Plan(["off"], [], [], [])),
    ([OFF], {}, Plan([], [], ["off"], [])),
    ([OUT], {"out": 1}, Plan(["out"], [], [], [])),
    ([OUT], {}, Plan([], [], [], ["out"])),
    ([NEWER], {"newer": 1}, Plan(["newer"], [], [], [])),
    ([NEWER], {}, Plan([], [NEWER], ["newer"], [])),
    ([GOOD], {"good": 1}, Plan([], [], [], [])),
    ([GOOD], {}, Plan([], [GOOD], [], [])),
    ([], {"lost": 1}, Plan(["lost"], [], [], [])),
]


@pytest.mark.parametrize(("mappings", "running", "expected"), PLANS)
def test_a_round_does_what_is_missing(mappings, running, expected):
    assert plan(mappings, running) == expected


# ---------------------------------------------------------------- at work


class Mappings:
    """The store, in memory."""

    def __init__(self, *mappings: EventSourceMapping) -> None:
        self.kept = {each.uuid: each for each in mappings}
        self.errors: list[Exception] = []

    async def all_mappings(self) -> Sequence[EventSourceMapping]:
        if self.errors:
            raise self.errors.pop(0)
        return list(self.kept.values())

    async def change(self, uuid: str, change: Any) -> EventSourceMapping:
        if uuid not in self.kept:
            raise PlatformError(ErrorCode.NOT_FOUND, "it has gone")
        self.kept[uuid] = change(self.kept[uuid])
        return self.kept[uuid]

    async def remove(self, uuid: str) -> None:
        self.kept.pop(uuid, None)


class Pollers:
    """A kind of source whose pollers do as they are told."""

    def __init__(self) -> None:
        self.running: dict[str, Feed] = {}
        self.begun: list[int] = []
        """Revisions."""
        self.errors: list[Exception] = []
        self.linger = asyncio.Event()
        self.linger.set()

    async def check(self, *_: object) -> None:
        return None

    async def poll(self, feed: Feed) -> None:
        self.begun.append(feed.mapping.revision)
        if self.errors:
            raise self.errors.pop(0)
        self.running[feed.mapping.uuid] = feed
        try:
            await feed.stopping.wait()
            await self.linger.wait()
        finally:
            del self.running[feed.mapping.uuid]


@contextlib.asynccontextmanager
async def at_work(store: Mappings, pollers: Pollers, **settings: Any) -> AsyncIterator[Reconciler]:
    clock = Clock(wall=lambda: 0.0)
    reconciler = Reconciler(
        store,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        {SourceKind.KINESIS: pollers},
        clock,
        **settings,
    )
    reconciler.clock = clock  # type: ignore[attr-defined]
    async with asyncio.timeout(20), reconciler.polling():
        yield reconciler


async def test_a_new_mapping_is_polled_and_enabled():
    store, pollers = Mappings(NEW), Pollers()
    async with at_work(store, pollers):
        await until(lambda: store.kept["new"].state is S.ENABLED and "new" in pollers.running)
    assert pollers.running == {}


async def test_a_mapping_that_is_deleted_stays_until_its_poller_has_ended():
    store, pollers = Mappings(GOOD), Pollers()
    pollers.linger.clear()
    async with at_work(store, pollers) as reconciler:
        await until(lambda: "good" in pollers.running)
        store.kept["good"] = begin(GOOD, S.DELETING, "delete")
        reconciler.changed()
        await until(lambda: pollers.running["good"].stopping.is_set())
        assert "good" in store.kept
        pollers.linger.set()
        await until(lambda: store.kept == {})


async def test_an_update_ends_the_old_poller_before_the_new_one_begins():
    store, pollers = Mappings(GOOD), Pollers()
    async with at_work(store, pollers) as reconciler:
        await until(lambda: "good" in pollers.running)
        store.kept["good"] = begin(structs.replace(GOOD, revision=2), S.UPDATING, "update")
        reconciler.changed()
        await until(lambda: store.kept["good"].state is S.ENABLED)
        await until(lambda: pollers.begun == [1, 2])


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (SourceError("the queue is gone"), "PROBLEM: the queue is gone"),
        (PlatformError(ErrorCode.INVALID_PARAMETER, "no endpoint"), "PROBLEM: no endpoint"),
        (ValueError("a secret"), "PROBLEM: Internal error: ValueError"),
    ],
)
async def test_a_poller_that_fails_is_shown_and_started_again(error, shown):
    store, pollers = Mappings(GOOD, NEW), Pollers()
    pollers.errors = [error]
    async with at_work(store, pollers) as reconciler:
        await until(lambda: len(pollers.running) == 1 and not pollers.errors)
        await until(lambda: shown in {each.last_result for each in store.kept.values()})
        reconciler.clock.advance(1.0)
        await until(lambda: len(pollers.running) == 2)


async def test_a_database_that_is_busy_is_asked_again():
    store, pollers = Mappings(NEW), Pollers()
    store.errors = [PlatformError(ErrorCode.UNAVAILABLE, "busy")]
    async with at_work(store, pollers):
        await until(lambda: "new" in pollers.running)


async def test_pollers_that_do_not_end_in_time_are_ended():
    store, pollers = Mappings(GOOD), Pollers()
    pollers.linger.clear()
    async with at_work(store, pollers) as reconciler:
        await until(lambda: "good" in pollers.running)
        await reconciler.drain(0.01)
        await until(lambda: pollers.running == {})


async def test_a_pattern_of_another_release_is_a_problem_of_its_mapping_alone():
    store, pollers = Mappings(structs.replace(GOOD, filters=("no pattern",)), NEW), Pollers()
    async with at_work(store, pollers):
        await until(lambda: "new" in pollers.running)
        await until(lambda: "Invalid filter pattern" in store.kept["good"].last_result)


async def test_an_error_of_ours_ends_no_other_mapping():
    store, pollers = Mappings(NEW), Pollers()
    store.errors = [ValueError("a defect")]
    async with at_work(store, pollers):
        await until(lambda: "new" in pollers.running)


async def test_a_poller_that_does_not_end_is_ended():
    store, pollers = Mappings(GOOD), Pollers()
    pollers.linger.clear()
    async with at_work(store, pollers, stop_limit_s=0.01) as reconciler:
        await until(lambda: "good" in pollers.running)
        store.kept["good"] = begin(GOOD, S.DELETING, "delete")
        reconciler.changed()
        await until(lambda: store.kept == {})


async def test_where_several_servers_share_a_database_none_polls():
    store, pollers = Mappings(NEW), Pollers()
    async with at_work(store, pollers, shared=True) as reconciler:
        with pytest.raises(PlatformError, match="to itself"):
            await reconciler.check(NEW, a_version())
    assert pollers.begun == []


class Silent(Pollers):
    """A source that does not answer."""

    async def check(self, *_: object) -> None:
        await asyncio.Event().wait()


async def test_a_source_that_does_not_answer_is_refused_in_time():
    reconciler = Reconciler(
        Mappings(),  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        {SourceKind.KINESIS: Silent()},
        Clock(),
        check_limit_s=0.01,
    )
    with pytest.raises(PlatformError, match="did not answer within") as refused:
        await reconciler.check(GOOD, a_version())
    assert refused.value.code is ErrorCode.INVALID_PARAMETER
