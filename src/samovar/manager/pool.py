"""The instances of one function version and the requests that wait for them: decisions only.

How this works. A *ticket* is a request that waits. Every event (a request, an instance that came
up, was released, was lost, …) is one method that changes the pool and returns *actions* for the
manager to perform. Nothing here waits, starts or stops anything.

An instance takes up to `hard` requests at once. One that has less than `soft` is preferred, the
fullest of them first, so that others can expire; where there is none, but one that has less than
`hard`, that one is taken, and another is started.

Some instances are started *beforehand*, with nobody waiting: for provisioned concurrency, for the
least number of instances, or because the keep-alive policy expects a request. If such a start
fails, no request pays for it.

What holds after every method (tested with random event sequences):
- no ticket waits while an instance may take it (late binding: the first one that is free takes the
  oldest ticket);
- no more starts are asked for than waiting tickets need (single flight; a ticket that is cancelled
  or granted something else leaves its start running, and the next ticket counts on it);
- every ticket ends once: granted, rejected or cancelled;
- a retired pool still serves its tickets, and keeps nothing idle.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from samovar.manager.actions import Action, Grant, Reject, Start, Stop, Ticket
from samovar.manager.keep_alive import Ages, KeepAlive
from samovar.manager.members import Member, Members
from samovar.manager.starts import BEFOREHAND, Starts
from samovar.manager.targets import AT_ONCE, ENDED_EARLY, YOUNG_S, Targets
from samovar.model.function import FunctionVersion, VersionKey
from samovar.model.instance import InstanceId, InstanceState, WorkerId
from samovar.model.invocation import ColdCause
from samovar.model.scale import Scale

NOTHING: Sequence[Action] = ()
NOTHING_ASKED, NOTHING_LATER = Scale(), tuple[Ages, ...]()


class PoolKey(NamedTuple):
    """What instances of one pool have in common (invariant 4)."""

    version: VersionKey
    tenant: str | None
    """Of a function that keeps its tenants apart."""


class Pool:
    """See the module's text. Times are seconds of one monotonic clock, passed in."""

    def __init__(
        self,
        version: FunctionVersion,
        keep: KeepAlive,
        tenant: str | None = None,
        *,
        soft: int = 1,
        last_end: ColdCause = ColdCause.FIRST,
    ) -> None:
        self.version = version
        self.key = PoolKey(version.key, tenant)
        self.keep = keep
        self.members = Members(version.concurrency, soft)
        self.targets = Targets()
        self.starts = Starts()
        self.tickets: OrderedDict[Ticket, None] = OrderedDict()
        """Requests that wait, the oldest one at the front."""
        self.retired = False
        self.blocked = False
        """A start has found no room, and none may have come free since: the next one waits for
        `unblock`."""
        self.returning = 0
        """Requests that have been answered, and will give back their place at once: those that wait
        for it start nothing."""
        self.due = math.inf
        """When `on_time` has something to do."""
        self.armed_for = math.inf
        """When it will be called, at the latest: the timers' own."""
        self.beside: dict[WorkerId, int] = {}
        """Instances on each worker, starting ones included: kept by whoever places them."""
        self.refused_by: set[WorkerId] = set()
        """Workers that took none although placement said that there was room: likewise."""
        self.last_used_at = 0.0
        """When an instance last became idle: how long an empty pool has been of no use."""
        self._resting = False
        """A start beforehand has failed; the next one waits for `on_time`."""
        self._later: Sequence[Ages] = NOTHING_LATER
        """When one should be there again, as times, unless a request comes first."""
        self._predicted_until = 0.0
        self._last_end = last_end

    # ------------------------------------------------------------ looking

    @property
    def empty(self) -> bool:
        """Nothing runs, nothing starts, nobody waits, nothing is asked for or planned."""
        return not (
            len(self.members)
            or self.tickets
            or self.starts.total
            or self._later
            or (self.targets.scale != NOTHING_ASKED and not self.retired)
        )

    def idle_since(self, instance: InstanceId) -> float | None:
        """Since when an instance has been idle that may be stopped to make room; else None."""
        member = self.members.get(instance)
        if member is None or member.state is not InstanceState.IDLE or member.provisioned:
            return None
        return member.idle_since if self._may_spare_one else None

    @property
    def wants_start(self) -> bool:
        """Whether one request more, which finds nothing under its soft limit, starts an instance
        now."""
        waiting = len(self.tickets) + 1 - self.returning
        has_few = self.starts.asked * self.members.soft < waiting
        return has_few and not self.blocked and self._has_place()

    # ------------------------------------------------------------ requests

    def take_provisioned(self) -> InstanceId | None:
        """An idle instance of the provisioned ones, now busy; None where none is."""
        self._later = NOTHING_LATER
        return self.members.take_provisioned()

    def take(self) -> InstanceId | None:
        """The warm path: the fullest instance under its soft limit, with one request more; None
        where there is none."""
        self._later = NOTHING_LATER
        return self.members.take()

    def request(self, ticket: Ticket) -> Sequence[Action]:
        """A request came that found no instance under its soft limit."""
        self.tickets[ticket] = None
        self._later = NOTHING_LATER
        return self._assign(scale_out=True)

    def cancel(self, ticket: Ticket) -> None:
        """A request went away. A start that it caused goes on: the next request will use it."""
        self.tickets.pop(ticket, None)

    # ------------------------------------------------------------ instances

    def started(self, instance: InstanceId, cause: ColdCause, now: float) -> Sequence[Action]:
        """A start succeeded: the instance is initialised."""
        self.starts.count(cause, -1)
        if cause in (ColdCause.PROVISIONED, ColdCause.MINIMUM):
            self.targets.succeeded(now)
        member = self.members.add(instance, now, provisioned=cause is ColdCause.PROVISIONED)
        until = self._predicted_until if cause is ColdCause.PREDICTED else None
        actions = [*self._assign(), *self._rest(member, now, until)]
        if surplus := self._give_up_surplus():
            actions += [*surplus, *self._assign()]
        return actions

    def start_failed(self, cause: ColdCause, error: Exception, now: float) -> Sequence[Action]:
        """A start failed by the function's or the platform's fault: one request pays for it, or,
        where none waited for it, whoever asked for it learns why and it is tried again later."""
        self.starts.count(cause, -1)
        actions: list[Action] = []
        if cause not in BEFOREHAND:
            self._last_end = ColdCause.REPLACED
            if self.tickets:
                ticket, _ = self.tickets.popitem(last=False)
                actions.append(Reject(ticket, error))
        elif cause is not ColdCause.PREDICTED:
            self._pause(error, now)
        return actions + self._assign()

    def start_blocked(self, cause: ColdCause) -> None:
        """A start that is needed found no room anywhere. Requests wait on: `start_one` tries
        again."""
        self.starts.count(cause, -1)
        self.blocked = True
        if cause in BEFOREHAND:
            self.targets.blocked()

    def start_one(self, over_soft: int = 0) -> ColdCause | None:
        """Count a start that is needed, if there is room, and return why it is; None: none is.
        `over_soft`: requests that would rather be elsewhere."""
        cause = self._lacking(over_soft)
        if cause is not None:
            self.starts.count(cause)
        return cause

    def unblock(self) -> bool:
        """Return whether nobody waits for room any more: no start is needed."""
        self.blocked = self._lacking() is not None
        return not self.blocked

    def does_not_return(self) -> Sequence[Action]:
        """One of `returning` is not coming back at once, or has come."""
        self.returning -= 1
        return self._assign() if self.tickets else NOTHING

    def released(self, instance: InstanceId, now: float, *, survives: bool) -> Sequence[Action]:
        """A request has ended; `survives` says whether its instance may be used again."""
        member = self.members.get(instance)
        if member is None or not member.running:
            return NOTHING  # it was lost meanwhile
        if not survives and not member.leaving:
            self._last_end = ColdCause.REPLACED
            self.members.leave(member)
        self.members.give_back(member)
        if member.leaving:
            stops = [] if member.running else [self._stop(member)]
            return [*stops, *self._assign()]
        actions = self._assign() if self.tickets else NOTHING
        rested = NOTHING if member.running else self._rest(member, now)
        return [*actions, *rested] if actions else rested

    def lost(self, instance: InstanceId, now: float) -> Sequence[Action]:
        """An instance ended by itself, or has been stopped: nothing of it is left."""
        member = self.members.get(instance)
        if member is None:
            return NOTHING
        if not member.leaving:
            self._last_end = ColdCause.REPLACED
            young = not member.running and now - member.since < YOUNG_S
            if young and self.targets.scale != NOTHING_ASKED:
                self._pause(ENDED_EARLY, now)
        self.members.remove(member)
        return self._assign()

    def evict(self, instance: InstanceId) -> Sequence[Action]:
        """Stop an idle instance to make room for another."""
        member = self.members.get(instance)
        return [self._stop(member, ColdCause.EVICTED)] if member is not None else NOTHING

    # ------------------------------------------------------------ what is asked for

    def tune(self, keep: KeepAlive, soft: int) -> Sequence[Action]:
        """Keep and fill instances so. What is idle stays for as long as was planned."""
        self.keep = keep
        self.members.soft = soft
        return self._assign()

    def ask(self, scale: Scale, now: float) -> Sequence[Action]:
        """Keep so many instances, from now on."""
        if self.retired:
            return NOTHING
        self.targets.set(scale)
        self._resting = False
        for member in self.members.idle_on_demand:  # some were kept for what was asked before
            self._plan(member, now)
        return [*self._give_up_surplus(), *self._assign()]

    def retire(self) -> Sequence[Action]:
        """This code and configuration is no longer current: stop what is idle now, and the rest
        as it is released. Requests that wait came before the change and are still served."""
        self.retired = True
        self._later = NOTHING_LATER
        self.targets.set(Scale(max_instances=self.targets.scale.max_instances))
        idle = [*self.members.idle_on_demand, *self.members.idle_provisioned]
        stops = [self._stop(member, ColdCause.REPLACED) for member in idle]
        return [*stops, *self._give_up_surplus()]

    def on_time(self, now: float) -> Sequence[Action]:
        """It is `due`: stop what has been idle for long enough, start what will be needed, try
        again what failed."""
        actions: list[Action] = []
        for member in self.members.idle_on_demand:
            if member.until > now:
                continue
            if self._may_spare_one:
                actions.append(self._stop(member, ColdCause.EXPIRED))
            else:
                member.until = math.inf  # others will go before it
        if self._resting and self.targets.retry_at <= now:
            self._resting = False
        actions += self._assign()
        while self._later and self._later[0].begin_s <= now:
            expected, *self._later = self._later
            wanted = not (self.members.idle or self.starts.total or self.blocked)
            if wanted and expected.end_s > now and self._has_place():
                self._predicted_until = expected.end_s
                self.starts.count(ColdCause.PREDICTED)
                actions.append(Start(ColdCause.PREDICTED))
        self.due = min((member.until for member in self.members.idle_on_demand), default=math.inf)
        if self._later:
            self.due = min(self.due, self._later[0].begin_s)
        if self._resting:
            self.due = min(self.due, self.targets.retry_at)
        return actions

    # ------------------------------------------------------------ deciding

    def _rest(self, member: Member, now: float, until: float | None = None) -> Sequence[Action]:
        """It has just come to have no request; unless it was given one at once, see how long it
        is kept for. (`until`: that has been decided before.)"""
        self.last_used_at = now
        member.idle_since = now
        if member.state is not InstanceState.IDLE:
            return NOTHING
        if self.retired:
            return [self._stop(member, ColdCause.REPLACED)]
        if member.provisioned:
            return NOTHING
        if until is not None:
            member.until = until
            self.due = min(self.due, until)
        elif not self._plan(member, now):
            return [self._stop(member, ColdCause.EXPIRED)]
        return NOTHING

    def _plan(self, member: Member, now: float) -> bool:
        """Ask the policy what becomes of an idle instance; return whether it stays for now."""
        ages = self.keep.plan(now)
        stays = bool(ages) and ages[0].begin_s <= 0.0
        member.until = now + ages[0].end_s if stays else now
        if member.until < self.due:
            self.due = member.until
        self._later = NOTHING_LATER  # what an instance that was idle before had planned, has no say
        if len(ages) > stays:
            self._later = [Ages(now + age.begin_s, now + age.end_s) for age in ages[stays:]]
            self.due = min(self.due, self._later[0].begin_s)
        return stays or not self._may_spare_one

    @property
    def _may_spare_one(self) -> bool:
        return self.members.staying > self.targets.scale.min_instances

    def _assign(self, *, scale_out: bool = False) -> list[Action]:
        """Give instances to those who wait, and start what is lacking. `scale_out`: for what is
        over the soft limits too. (Only when that grows: what fails is not tried for ever.)"""
        actions: list[Action] = []
        while self.tickets and (instance := self.members.take_any()) is not None:
            ticket, _ = self.tickets.popitem(last=False)
            actions.append(Grant(ticket, instance))
        if not self.blocked:
            over_soft = self.members.over_soft() if scale_out else 0
            while (cause := self.start_one(over_soft)) is not None:
                actions.append(Start(cause))
        return actions

    def _pause(self, why: Exception | str, now: float) -> None:
        """What is asked for has failed: it is tried again later."""
        if not self._resting:
            self.targets.failed(why, now)
            self._resting = True
            self.due = min(self.due, self.targets.retry_at)

    def _lacking(self, over_soft: int = 0) -> ColdCause | None:
        """Why another start is needed, requests first; None: none is, or there may be none."""
        if not self._has_place():
            return None
        if self.starts.asked * self.members.soft < len(self.tickets) + over_soft - self.returning:
            return self._cold_cause()
        return self._lacking_beforehand()

    def _lacking_beforehand(self) -> ColdCause | None:
        """What is asked for and neither there nor under way."""
        if self._resting or self.starts.total - self.starts.asked >= AT_ONCE:
            return None
        provisioning = self.starts.of(ColdCause.PROVISIONED)
        if self.members.provisioned + provisioning < self.targets.scale.provisioned:
            return ColdCause.PROVISIONED
        if self.members.staying + self.starts.total < self.targets.scale.min_instances:
            return ColdCause.MINIMUM
        return None

    def _has_place(self) -> bool:
        most = self.targets.scale.max_instances
        return most is None or len(self.members) + self.starts.total < most

    def _cold_cause(self) -> ColdCause:
        return ColdCause.SCALE_OUT if self.members.staying or self.starts.total else self._last_end

    def _stop(self, member: Member, cause: ColdCause | None = None) -> Stop:
        self.members.stop(member)
        self._last_end = cause or self._last_end
        return Stop(member.id)

    def _give_up_surplus(self) -> list[Action]:
        """Provisioned instances that are not asked for any more: the idle ones go now, the others
        when their requests have ended."""
        idle = self.members.leave_all_but(self.targets.scale.provisioned)
        return [self._stop(member, ColdCause.EXPIRED) for member in idle]
