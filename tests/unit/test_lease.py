"""The lease on events: who keeps its token, and who goes on with another one."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from samovar.events.lease import LEASE_S, Lease
from tests.unit.dispatching import event, world
from tests.unit.scripted_worker import Clock


@contextlib.asynccontextmanager
async def leased(tmp_path, *, alone):
    """A lease with an event that it holds, and its clock."""
    async with world(tmp_path) as it:
        clock = Clock()
        lease = Lease(it.store, alone=alone, monotonic=clock)
        await lease.begin()
        await it.store.accept(event("1"))
        await it.store.take(lease.token, event("1").queue, 1, it.clock.now())
        yield it.store, lease, clock


async def test_who_is_alone_keeps_its_token_however_long_it_has_slept(tmp_path):
    async with leased(tmp_path, alone=True) as (store, lease, clock):
        token = lease.token
        clock.now += 1_000_000
        assert lease.token == token
        assert await store.sweep() == 0
        assert await store.held(token) == ["1"]


async def test_who_is_alone_renews_nothing(tmp_path):
    async with leased(tmp_path, alone=True) as (_, lease, _clock), asyncio.timeout(5):
        await lease.keep(asyncio.Event())


@pytest.mark.parametrize("late_s", [0, LEASE_S + 1], ids=["in time", "late"])
async def test_who_renews_before_anybody_has_swept_goes_on_as_before(tmp_path, late_s):
    async with leased(tmp_path, alone=False) as (store, lease, clock):
        token = lease.token
        clock.now += late_s
        assert (lease.token is None) == bool(late_s)
        await lease.renew()
        assert lease.token == token
        assert await store.held(token) == ["1"]


async def test_who_has_been_swept_goes_on_with_another_token(tmp_path):
    async with leased(tmp_path, alone=False) as (store, lease, _):
        token = lease.token
        assert await store.sweep(everybody=True) == 1
        await lease.renew()
        assert lease.token not in (token, None)
        assert await store.held(lease.token) == []
