"""Random events on a pool: whatever happens in whatever order, what it promises holds."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from samovar.manager.actions import Grant, Reject, Start, Stop
from samovar.manager.keep_alive import Ages
from samovar.manager.pool import Pool
from samovar.manager.starts import BEFOREHAND
from samovar.manager.targets import YOUNG_S
from samovar.model.function import CapacityProvider
from samovar.model.instance import InstanceState
from samovar.model.invocation import ColdCause
from samovar.model.scale import Scale
from tests.contract.samples import a_version

PLANS = [
    (Ages(0.0, 10.0),),
    (Ages(0.0, math.inf),),
    (),
    (Ages(5.0, 20.0),),
    (Ages(0.0, 1.0), Ages(5.0, 20.0), Ages(30.0, 31.0)),
]
SCALES = st.builds(
    Scale,
    provisioned=st.integers(0, 3),
    min_instances=st.integers(0, 3),
    max_instances=st.none() | st.integers(3, 6),
)


class AnyPlan:
    """A keep-alive policy that says what a test draws."""

    def __init__(self):
        self.next = PLANS[0]

    def plan(self, now):
        return self.next


class PoolMachine(RuleBasedStateMachine):
    """Plays the manager: performs the pool's actions in an order of its own."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.since = {}
        self.came_up_at = None
        self.numbers = itertools.count(1)
        self.waiting = []
        self.starts = Counter()
        self.running = {}
        """Instance → its requests: those that may get more."""
        self.provisioned = set()
        self.leaving = {}
        """Likewise: those that may not."""
        self.stopping = set()
        self.known_blocked = False
        self.resting = False
        self.failures = 0
        self.retry_at = 0.0

    @initialize(many=st.sampled_from([(1, 1), (1, 1), (4, 3), (10, 8)]))
    def begin(self, many):
        self.hard, self.soft = many
        provider = CapacityProvider("arn", self.hard) if self.hard > 1 else None
        self.keep = AnyPlan()
        version = a_version(capacity_provider=provider)
        self.pool = Pool(version, self.keep, soft=self.soft)

    @property
    def _existing(self):
        return len(self.running) + len(self.leaving) + len(self.stopping)

    def _over_soft(self):
        return sum(max(0, count - self.soft) for count in self.running.values())

    def _perform(self, actions):
        for action in actions:
            match action:
                case Grant(ticket, instance):
                    assert ticket == self.waiting.pop(0), "the oldest request is served first"
                    self._takes(instance)
                case Reject(ticket, _):
                    assert ticket == self.waiting.pop(0)
                case Stop(instance):
                    assert not self.running.pop(instance, 0), "nothing is stopped that runs"
                    assert not self.leaving.pop(instance, 0)
                    assert instance not in self.stopping, "an instance is stopped once"
                    self.provisioned.discard(instance)
                    self.stopping.add(instance)
        for action in actions:
            if isinstance(action, Start):
                self._begins(action.cause)

    def _takes(self, instance):
        better = [i for i, count in self.running.items() if count < self.soft]
        idle_provisioned = [i for i in self.provisioned if not self.running.get(i, 1)]
        assert instance in idle_provisioned or not idle_provisioned, "provisioned ones come first"
        assert self.running[instance] < self.soft or not better, "the soft limit is kept"
        self.running[instance] += 1
        assert self.running[instance] <= self.hard

    def _begins(self, cause):
        assert not self.known_blocked, "no start while there is no room"
        self.starts[cause] += 1
        asked = sum(count for why, count in self.starts.items() if why not in BEFOREHAND)
        if cause not in BEFOREHAND:
            load = len(self.waiting) + self._over_soft()
            assert asked <= math.ceil(load / self.soft), "never more starts than waiters need"
        elif cause is not ColdCause.PREDICTED:
            assert not self.resting, "what fails is not tried again at once"
        if self.pool.targets.scale.max_instances is not None:
            assert self._existing + self.starts.total() <= self.pool.targets.scale.max_instances

    def _start_ends(self, data):
        cause = data.draw(st.sampled_from(sorted(why for why in self.starts if self.starts[why])))
        self.starts[cause] -= 1
        return cause

    starting = precondition(lambda self: self.starts.total())

    # ------------------------------------------------------------ requests

    @rule(times=st.integers(1, 4))
    def requests(self, times):
        for _ in range(times):
            self._request()

    def _request(self):
        instance = self.pool.take_provisioned() or self.pool.take()
        if instance is not None:
            assert not self.waiting
            self._takes(instance)
            return
        assert all(count >= self.soft for count in self.running.values())
        ticket = next(self.numbers)
        self.waiting.append(ticket)
        self._perform(self.pool.request(ticket))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data):
        ticket = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(ticket)
        self.pool.cancel(ticket)

    # ------------------------------------------------------------ starts

    @starting
    @rule(data=st.data())
    def started(self, data):
        cause = self._start_ends(data)
        instance = f"i-{next(self.numbers)}"
        if cause in (ColdCause.PROVISIONED, ColdCause.MINIMUM):
            self.came_up_at = self.now if self.came_up_at is None else self.came_up_at
        self.running[instance] = 0
        self.since[instance] = self.now
        if cause is ColdCause.PROVISIONED:
            self.provisioned.add(instance)
        self._perform_with_surplus(self.pool.started(instance, cause, self.now))

    @starting
    @rule(data=st.data())
    def start_failed(self, data):
        cause = self._start_ends(data)
        waited = len(self.waiting)
        if cause in (ColdCause.PROVISIONED, ColdCause.MINIMUM):
            self._fails()
        self._perform(self.pool.start_failed(cause, RuntimeError("no"), self.now))
        pays = cause not in BEFOREHAND
        assert len(self.waiting) == max(0, waited - pays), "one request pays for one failure"

    def _fails(self):
        if self.resting:
            return
        if self.came_up_at is not None and self.now - self.came_up_at >= YOUNG_S:
            self.failures = 0
        self.came_up_at = None
        self.failures += 1
        self.retry_at = self.now + min(60.0, 2.0 ** (self.failures - 1))
        self.resting = True

    @starting
    @rule(data=st.data())
    def start_blocked(self, data):
        cause = self._start_ends(data)
        if cause is ColdCause.PREDICTED:
            self.pool.starts.count(cause, -1)
        else:
            self.known_blocked = True
            self.pool.start_blocked(cause)

    @rule()
    def start_one(self):
        cause = self.pool.start_one()
        if cause is not None:
            self.starts[cause] += 1
            assert self.known_blocked, "what is lacking is asked for, where nothing is in the way"

    @rule()
    def unblock(self):
        while self.pool.blocked and not self.pool.unblock():
            self.start_one()
        self.known_blocked = False

    # ------------------------------------------------------------ instances

    @precondition(lambda self: any(self.running.values()) or self.leaving)
    @rule(data=st.data(), survives=st.booleans(), plan=st.sampled_from(PLANS))
    def released(self, data, survives, plan):
        self.keep.next = plan
        busy = {i: count for i, count in self.running.items() if count} | self.leaving
        instance = data.draw(st.sampled_from(sorted(busy)))
        if instance in self.leaving:
            self.leaving[instance] -= 1
        elif survives:
            self.running[instance] -= 1
        else:
            self._leaves(instance, self.running[instance] - 1)
        self._perform(self.pool.released(instance, self.now, survives=survives))

    def _leaves(self, instance, still):
        del self.running[instance]
        self.provisioned.discard(instance)
        self.leaving[instance] = still

    @precondition(lambda self: self._existing)
    @rule(data=st.data())
    def lost(self, data):
        everything = [*self.running, *self.leaving, *self.stopping]
        instance = data.draw(st.sampled_from(sorted(everything)))
        young = self.running.get(instance) == 0 and self.now - self.since[instance] < YOUNG_S
        if young and self.pool.targets.scale != Scale():
            self._fails()
        for members in (self.running, self.leaving):
            members.pop(instance, None)
        self.stopping.discard(instance)
        self.provisioned.discard(instance)
        self._perform(self.pool.lost(instance, self.now))

    @rule(survives=st.booleans())
    def what_has_ended_ends_again(self, survives):
        self.pool.cancel(0)
        assert not self.pool.released("i-0", self.now, survives=survives)
        self._perform(self.pool.lost("i-0", self.now))

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 10.0, 60.0]))
    def time_passes(self, seconds):
        self.now += seconds
        if self.pool.due <= self.now:
            self.resting = self.resting and self.now < self.retry_at
            self._perform(self.pool.on_time(self.now))
            assert self.pool.due > self.now, "what was due is done"

    @precondition(lambda self: 0 in self.running.values())
    @rule()
    def evict(self):
        for instance in [i for i, count in self.running.items() if not count]:
            spare = len(self.running) > self.pool.targets.scale.min_instances
            may_go = instance not in self.provisioned and spare
            assert (self.pool.idle_since(instance) is not None) == may_go
            if may_go:
                self._perform(self.pool.evict(instance))
                return

    @precondition(lambda self: not self.pool.retired)
    @rule()
    def retire(self):
        self._perform_with_surplus(self.pool.retire())

    # ------------------------------------------------------------ what is asked for

    @precondition(lambda self: not self.pool.retired)
    @rule(scale=SCALES)
    def ask(self, scale):
        self.resting, self.failures = False, 0
        if self.hard > 1:
            scale = replace(scale, provisioned=0)  # as AWS has it
        self._perform_with_surplus(self.pool.ask(scale, self.now))

    def _perform_with_surplus(self, actions):
        """Some provisioned instances that run may be condemned, which no action tells."""
        for instance in list(self.provisioned):
            member = self.pool.members.get(instance)
            if member.leaving and member.running:
                self._leaves(instance, self.running[instance])
        for action in actions:
            if isinstance(action, Grant) and action.instance in self.leaving:
                self.running[action.instance] = self.leaving.pop(action.instance)
        self._perform(actions)

    # ------------------------------------------------------------ what holds

    @invariant()
    def nobody_waits_in_vain(self):
        free = [i for i, count in self.running.items() if count < self.hard]
        assert not (self.waiting and free)

        if not self.waiting or self.known_blocked:
            return
        asked = sum(count for why, count in self.starts.items() if why not in BEFOREHAND)
        most = self.pool.targets.scale.max_instances
        full = most is not None and self._existing + self.starts.total() >= most
        assert full or asked >= math.ceil(len(self.waiting) / self.soft)

    @invariant()
    def what_is_asked_for_is_there_or_under_way(self):
        most = self.pool.targets.scale.max_instances
        full = most is not None and self._existing + self.starts.total() >= most
        if self.known_blocked or self.resting or full:
            return
        coming = self.starts[ColdCause.PROVISIONED]
        assert len(self.provisioned) + coming >= self.pool.targets.scale.provisioned
        assert len(self.running) + self.starts.total() >= self.pool.targets.scale.min_instances

    @invariant()
    def provisioned_concurrency_is_told_truly(self):
        progress = self.pool.targets.progress(self.pool.members)
        assert progress.requested == self.pool.targets.scale.provisioned
        assert progress.allocated == len(self.provisioned) <= self.pool.targets.scale.provisioned
        idle = sum(not self.running[instance] for instance in self.provisioned)
        assert progress.available == idle

    @invariant()
    def the_pool_counts_what_there_is(self):
        pool, idle = self.pool, sum(not count for count in self.running.values())
        assert not (pool.retired and idle), "a retired pool keeps nothing idle"
        assert (len(pool.tickets), pool.starts.total, pool.members.idle) == (
            len(self.waiting),
            self.starts.total(),
            idle,
        )
        count = pool.members.count
        assert count(InstanceState.IDLE) == idle
        busy = len(self.running) - idle + len(self.leaving)
        assert count(InstanceState.BUSY) == busy
        assert count(InstanceState.STOPPING) == len(self.stopping)
        if pool.empty:
            assert not (self.waiting or self.starts.total() or self._existing)
        assert pool.blocked == self.known_blocked

    def teardown(self):
        if not hasattr(self, "pool"):
            return
        self._perform_with_surplus(self.pool.retire())
        self.unblock()
        while self.starts.total():
            cause = next(why for why in self.starts if self.starts[why])
            self.starts[cause] -= 1
            self._perform(self.pool.start_failed(cause, RuntimeError("no"), self.now))
        assert not self.waiting or self.running or self.leaving or self.stopping
        for instance in [*self.running, *self.leaving, *self.stopping]:
            for members in (self.running, self.leaving):
                members.pop(instance, None)
            self.stopping.discard(instance)
            self._perform(self.pool.lost(instance, self.now))
        while self.starts.total():
            cause = next(why for why in self.starts if self.starts[why])
            self.starts[cause] -= 1
            self._perform(self.pool.start_failed(cause, RuntimeError("no"), self.now))
        assert not self.waiting, "every request has ended"
        assert self.pool.empty


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
TestPool = pytest.mark.timeout(120)(TestPool)
