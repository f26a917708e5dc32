"""Random requests, crashes, updates and settings on a manager with two workers that lose messages:
whatever happens in whatever order, what it promises holds."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from samovar.manager import waiters
from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.rates import RateLimits
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import CapacityProvider
from samovar.model.invocation import Outcome
from samovar.model.scale import Scale
from samovar.ports import InitFailedError
from samovar.simulator.virtual_time import VirtualTimeLoop
from tests.contract.samples import a_version, function_id
from tests.unit.scripted_worker import Clock, ScriptedWorker, leftovers, managing, settled

ACCOUNT = 108
RESERVED = 3
ONE = a_version(function_id("one"), memory_mib=128)
RESERVING = a_version(function_id("reserving"), memory_mib=256)
MANY = a_version(function_id("many"), memory_mib=256, capacity_provider=CapacityProvider("arn", 3))
ANSWER = Outcome(b"1")
OUTCOMES = [ANSWER, ANSWER, ANSWER, Outcome(b"", instance_survives=False), None]
FAILURES = [
    InitFailedError(b"{}"),
    PlatformError(ErrorCode.SERVICE, "no"),
    PlatformError(ErrorCode.TOO_MANY_REQUESTS, "full"),
    ZeroDivisionError("a defect"),
]
VERSIONS = st.sampled_from([ONE, RESERVING, MANY])


def _passes(seconds):
    """Is done when so much of the loop's time has passed, which takes none."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_later(seconds, over.set_result, None)
    return over


class ManagerMachine(RuleBasedStateMachine):
    """Requests are tasks; a lease that one of them got is given back by a rule, or twice."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.clock = Clock()
        self.workers = [ScriptedWorker(1024, name, held=True) for name in ("v", "w")]
        self.ledger = ConcurrencyLedger(ACCOUNT, {RESERVING.id: RESERVED})
        self.current = {version.id: version for version in (ONE, RESERVING, MANY)}
        self.most = None
        self.numbers = itertools.count(1)
        self.requests = []
        self.leases = []
        self.stack = AsyncExitStack()
        self.manager = self._run(self._open())

    async def _open(self):
        return await self.stack.enter_async_context(
            managing(
                *self.workers,
                ledger=self.ledger,
                clock=self.clock,
                queue_requests=3,
                rates=RateLimits(scaling_rate=0),
                idle_timeout_s=10.0,
            )
        )

    def _run(self, coroutine):
        async def run():
            result = await coroutine
            await settled()
            await _passes(2 * waiters.EVERY_S)  # whoever waits for room has been looked at
            await settled()
            return result

        return self.runner.run(run())

    def _do(self, act, *arguments):
        async def run():
            act(*arguments)

        self._run(run())
        for request in [request for request in self.requests if request.done()]:
            self.requests.remove(request)
            if not request.cancelled() and request.exception() is None:
                self.leases.append(request.result())

    def _starting(self):
        return [(worker, i) for worker in self.workers for i in worker.starting]

    def _running(self):
        return Counter(lease.instance for lease in self.leases)

    # ------------------------------------------------------------ requests

    @rule(version=VERSIONS, times=st.integers(1, 4))
    def request(self, version, times):
        def begin():
            acquiring = self.manager.acquire(self.current[version.id])
            self.requests.append(asyncio.get_running_loop().create_task(acquiring))

        for _ in range(times):
            self._do(begin)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def goes_away(self, data):
        self._do(data.draw(st.sampled_from(self.requests)).cancel)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), twice=st.booleans())
    def release(self, data, outcome, twice):
        lease = data.draw(st.sampled_from(self.leases))
        self.leases.remove(lease)
        for _ in range(1 + twice):
            self._do(self.manager.release, lease, outcome)

    @precondition(lambda self: self.leases and self.requests)
    @rule(data=st.data())
    def one_goes_away_in_the_turn_in_which_another_ends(self, data):
        lease = data.draw(st.sampled_from(self.leases))
        self.leases.remove(lease)
        leaving = self.requests[0]

        def both():
            self.manager.release(lease, ANSWER)
            leaving.cancel()

        self._do(both)

    # ------------------------------------------------------------ workers

    @precondition(lambda self: self._starting())
    @rule(data=st.data())
    def comes_up(self, data):
        worker, instance = data.draw(st.sampled_from(self._starting()))
        self._do(worker.come_up, instance)

    @precondition(lambda self: self._starting())
    @rule(data=st.data(), failure=st.sampled_from(FAILURES))
    def fails(self, data, failure):
        worker, _ = data.draw(st.sampled_from(self._starting()))
        self._do(worker.fail, failure)

    @precondition(lambda self: any(worker.alive for worker in self.workers))
    @rule(data=st.data(), told=st.sampled_from([1, 2]))
    def ends_by_itself(self, data, told):
        starting = [instance for _, instance in self._starting()]
        alive = [(worker, i) for worker in self.workers for i in worker.alive if i not in starting]
        if alive:
            worker, instance = data.draw(st.sampled_from(alive))
            version = worker.alive[instance]
            self._do(worker.ends_by_itself, instance)
            if told == 2:  # the same exit once more
                worker.alive[instance] = version
                self._do(worker.ends_by_itself, instance)

    # ------------------------------------------------------------ settings

    @rule(provisioned=st.integers(0, 3))
    def provision(self, provisioned):
        version = self.current[RESERVING.id]
        self._do(self.manager.set_scale, version, Scale(provisioned=provisioned))

    @rule(most=st.none() | st.integers(1, 3), least=st.integers(0, 1))
    def bound(self, most, least):
        scale = Scale(min_instances=least, max_instances=most)
        self._do(self.manager.set_scale, self.current[MANY.id], scale)

    @rule(version=VERSIONS)
    def update(self, version):
        new = replace(version, revision_id=f"r{next(self.numbers)}")
        self.current[version.id] = new
        self._do(self.manager.supersede, version.id, version.version, new.key)

    @rule(seconds=st.sampled_from([1.0, 10.0]))
    def time_passes(self, seconds):
        self.clock.now += seconds
        self._do(self.manager._performer.on_time)
        self._do(self.manager._performer._go_round)

    # ------------------------------------------------------------ what holds

    @invariant()
    def no_instance_has_more_requests_than_it_may(self):
        for worker in self.workers:
            for instance, version in worker.alive.items():
                assert self._running()[instance] <= version.concurrency

    @invariant()
    def no_limit_is_exceeded(self):
        of = Counter(lease.version.id for lease in self.leases)
        assert of[RESERVING.id] <= RESERVED
        assert self.ledger.in_use(RESERVING.id) <= RESERVED
        assert of.total() <= ACCOUNT

    @invariant()
    def capacity_is_never_negative(self):
        assert all(worker.status().free_memory_mib >= 0 for worker in self.workers)

    @invariant()
    def everything_is_counted_once(self):
        manager = self.manager
        assert len(manager._leases) == len(self.leases)
        in_line = len(manager._line)
        assert manager._leases.in_flight == len(self.leases) + len(self.requests) - in_line
        known = len(manager._performer.instances)
        up = sum(len(worker.alive) for worker in self.workers) - len(self._starting())
        assert known == up
        for pool in manager._pools:
            assert sum(pool.beside.values()) == len(pool.members) + self._placed(pool)

    @invariant()
    def nobody_waits_while_an_instance_may_take_a_request(self):
        for pool in self.manager._pools:
            assert not (pool.tickets and any(self._free(pool)))

    def _placed(self, pool):
        """Starts of a pool that a worker has begun."""
        return sum(worker.alive[i].key == pool.key.version for worker, i in self._starting())

    @staticmethod
    def _free(pool):
        return (not m.leaving and m.running < pool.members.hard for m in pool.members)

    def teardown(self):
        for request in list(self.requests):
            self._do(request.cancel)
        for lease in self.leases:
            self._do(self.manager.release, lease, None)
        for version in self.current.values():
            self._do(self.manager.supersede, version.id, version.version, None)
        while self._starting():
            for worker, instance in self._starting():
                self._do(worker.come_up, instance)
        assert leftovers(self.manager) == {}
        assert not any(worker.alive for worker in self.workers)
        self._run(self.stack.aclose())
        self.runner.close()


TestManager = ManagerMachine.TestCase
TestManager.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestManager = pytest.mark.timeout(120)(TestManager)
