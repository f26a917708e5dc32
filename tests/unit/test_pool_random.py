"""Random events on a pool: whatever happens in whatever order, what it promises holds."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from samovar.manager.pool import Grant, Pool, Reject, Start, Stop
from samovar.model.instance import InstanceState
from tests.contract.samples import a_version

IDLE_TIMEOUT_S = 10.0


class PoolMachine(RuleBasedStateMachine):
    """Plays the manager: performs the pool's actions in an order of its own."""

    def __init__(self):
        super().__init__()
        self.pool = Pool(a_version())
        self.now = 0.0
        self.numbers = itertools.count(1)
        self.waiting = []
        self.starts = 0
        self.busy = set()
        self.idle = set()
        self.stopping = set()
        self.known_blocked = False

    def perform(self, actions):
        asked = sum(isinstance(action, Start) for action in actions)
        for action in actions:
            match action:
                case Grant(ticket, instance):
                    assert ticket == self.waiting.pop(0), "the oldest request is served first"
                    self.idle.remove(instance)
                    self.busy.add(instance)
                case Reject(ticket, _):
                    assert ticket == self.waiting.pop(0)
                case Stop(instance):
                    self.idle.discard(instance)
                    self.busy.discard(instance)
                    assert instance not in self.stopping, "an instance is stopped once"
                    self.stopping.add(instance)
        self.starts += asked
        assert asked == 0 or self.starts <= len(self.waiting), "never more starts than waiters"
        assert asked == 0 or not self.known_blocked, "no start while there is no room"

    # ------------------------------------------------------------ requests

    @rule()
    def request(self):
        instance = self.pool.take_idle()
        if instance is not None:
            assert not self.waiting
            self.idle.remove(instance)
            self.busy.add(instance)
            return
        assert not self.idle
        ticket = next(self.numbers)
        self.waiting.append(ticket)
        self.perform(self.pool.request(ticket))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data):
        ticket = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(ticket)
        self.pool.cancel(ticket)

    @rule()
    def cancel_what_has_ended(self):
        self.pool.cancel(0)

    # ------------------------------------------------------------ starts

    @precondition(lambda self: self.starts)
    @rule()
    def started(self):
        instance = f"i-{next(self.numbers)}"
        self.starts -= 1
        self.known_blocked = False
        self.idle.add(instance)
        self.perform(self.pool.started(instance, self.now))

    @precondition(lambda self: self.starts)
    @rule()
    def start_failed(self):
        self.starts -= 1
        waited = len(self.waiting)
        self.perform(self.pool.start_failed(RuntimeError("no")))
        assert len(self.waiting) == max(0, waited - 1), "one request pays for one failure"

    @precondition(lambda self: self.starts)
    @rule()
    def start_blocked(self):
        self.starts -= 1
        self.known_blocked = True
        self.perform(self.pool.start_blocked())

    @rule()
    def unblock(self):
        self.known_blocked = False
        self.perform(self.pool.unblock())

    # ------------------------------------------------------------ instances

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), survives=st.booleans())
    def released(self, data, survives):
        instance = data.draw(st.sampled_from(sorted(self.busy)))
        if survives:
            self.busy.remove(instance)
            self.idle.add(instance)
        self.perform(self.pool.released(instance, self.now, survives=survives))

    @precondition(lambda self: self.idle | self.busy | self.stopping)
    @rule(data=st.data())
    def lost(self, data):
        instance = data.draw(st.sampled_from(sorted(self.idle | self.busy | self.stopping)))
        for members in (self.idle, self.busy, self.stopping):
            members.discard(instance)
        self.perform(self.pool.lost(instance))

    @rule(survives=st.booleans())
    def an_instance_that_is_gone_is_released_or_lost_again(self, survives):
        assert self.pool.released("i-0", self.now, survives=survives) == []
        self.perform(self.pool.lost("i-0"))

    @rule(seconds=st.sampled_from([0.0, 1.0, IDLE_TIMEOUT_S]))
    def time_passes(self, seconds):
        self.now += seconds
        self.perform(self.pool.expire(self.now, IDLE_TIMEOUT_S))
        assert all(self.now - since < IDLE_TIMEOUT_S for since, _ in self.pool.idle_instances())

    @precondition(lambda self: self.idle)
    @rule()
    def evict(self):
        _, oldest = self.pool.idle_instances()[0]
        self.perform(self.pool.evict(oldest))

    @precondition(lambda self: not self.pool.retired)
    @rule()
    def retire(self):
        self.perform(self.pool.retire())

    # ------------------------------------------------------------ what holds

    @invariant()
    def nobody_waits_while_an_instance_is_idle(self):
        assert not (self.waiting and self.idle)

    @invariant()
    def nobody_who_waits_is_forgotten(self):
        assert self.known_blocked or self.starts >= len(self.waiting)

    @invariant()
    def a_retired_pool_keeps_nothing_idle(self):
        assert not (self.pool.retired and self.idle)

    @invariant()
    def the_pool_counts_what_there_is(self):
        pool = self.pool
        assert (pool.waiting, pool.starting, pool.idle) == (
            len(self.waiting),
            self.starts,
            len(self.idle),
        )
        assert pool.count(InstanceState.IDLE) == len(self.idle)
        assert pool.count(InstanceState.BUSY) == len(self.busy)
        assert pool.count(InstanceState.STOPPING) == len(self.stopping)
        assert pool.empty == (not (self.waiting or self.starts or self.everything))
        assert pool.blocked == (self.known_blocked and bool(self.waiting))

    @property
    def everything(self):
        return self.idle | self.busy | self.stopping

    def teardown(self):
        self.unblock()
        while self.starts:
            self.start_failed()
        assert not self.waiting, "every request has ended"
        for instance in self.everything:
            self.perform(self.pool.lost(instance))
        assert self.pool.empty


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
