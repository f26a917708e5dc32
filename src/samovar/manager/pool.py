"""The instances of one function version and the requests that wait for them: decisions only.

How this works. A *ticket* is a request that waits. Every event (a request, an instance that came
up, was released, was lost, …) is one method that changes the pool and returns *actions* for the
manager to perform. Nothing here waits, starts or stops anything.

What holds after every method (tested with random event sequences):
- no ticket waits while an instance is idle (late binding: the first free instance takes the
  oldest ticket);
- no start is asked for beyond the waiting tickets (single flight; a ticket that is cancelled or
  granted something else leaves its start running, and the next ticket counts on it);
- every ticket ends once: granted, rejected or cancelled;
- a retired pool still serves its tickets, and keeps nothing idle.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple, NewType

from samovar.model.function import FunctionVersion, VersionKey
from samovar.model.instance import InstanceId, InstanceState, move
from samovar.model.invocation import ColdCause

Ticket = NewType("Ticket", int)


@dataclass(frozen=True, slots=True)
class Grant:
    """Give the instance to the request."""

    ticket: Ticket
    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer the request with the error that ended the instance that it waited for."""

    ticket: Ticket
    error: Exception


@dataclass(frozen=True, slots=True)
class Start:
    """Start an instance; `cause` says why one is needed."""

    cause: ColdCause


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop an instance."""

    instance: InstanceId


Action = Grant | Reject | Start | Stop


@dataclass(slots=True)
class _Member:
    state: InstanceState
    idle_since: float = 0.0


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
        tenant: str | None = None,
        last_end: ColdCause = ColdCause.FIRST,
    ) -> None:
        self.version = version
        self.key = PoolKey(version.key, tenant)
        self.retired = False
        self._waiting: OrderedDict[Ticket, None] = OrderedDict()
        self._members: dict[InstanceId, _Member] = {}
        self._idle: list[InstanceId] = []
        """Most recently used last: it is taken first, so that the others can expire."""
        self._starting = 0
        self._blocked = False
        """A start found no room; the next one waits for `unblock`."""
        self._last_end = last_end
        self.last_used_at = 0.0
        """When an instance last became idle: how long an empty pool has been of no use."""

    # ------------------------------------------------------------ looking

    @property
    def empty(self) -> bool:
        """Nothing runs, nothing starts, nobody waits."""
        return not self._members and not self._waiting and not self._starting

    @property
    def waiting(self) -> int:
        """Tickets in the queue."""
        return len(self._waiting)

    @property
    def starting(self) -> int:
        """Starts that have been asked for and not yet answered."""
        return self._starting

    @property
    def blocked(self) -> bool:
        """Whether tickets wait for room on a worker."""
        return self._blocked and bool(self._waiting)

    @property
    def known_blocked(self) -> bool:
        """Whether a start has found no room, and none may have come free since."""
        return self._blocked

    @property
    def idle(self) -> int:
        """Instances that could take a request now."""
        return len(self._idle)

    def count(self, state: InstanceState) -> int:
        """Instances in a state."""
        return sum(member.state is state for member in self._members.values())

    def idle_instances(self) -> list[tuple[float, InstanceId]]:
        """The idle instances, each with the time since when; the longest idle first."""
        return [(self._members[instance].idle_since, instance) for instance in self._idle]

    # ------------------------------------------------------------ requests

    def take_idle(self) -> InstanceId | None:
        """The warm path: the most recently used idle instance, now busy; None where none is."""
        if not self._idle:
            return None
        instance = self._idle.pop()
        member = self._members[instance]
        member.state = move(member.state, InstanceState.BUSY)
        return instance

    def request(self, ticket: Ticket) -> list[Action]:
        """A request came that found no idle instance."""
        self._waiting[ticket] = None
        return self._assign()

    def cancel(self, ticket: Ticket) -> None:
        """A request went away. A start that it caused goes on: the next request will use it."""
        self._waiting.pop(ticket, None)

    # ------------------------------------------------------------ instances

    def started(self, instance: InstanceId, now: float) -> list[Action]:
        """A start succeeded: the instance is initialised."""
        self._starting -= 1
        self._blocked = False
        self._members[instance] = _Member(InstanceState.STARTING)
        return self._becomes_idle(instance, now)

    def start_failed(self, error: Exception) -> list[Action]:
        """A start failed by the function's or the platform's fault: one request pays for it."""
        self._starting -= 1
        self._last_end = ColdCause.REPLACED
        actions: list[Action] = []
        if self._waiting:
            ticket, _ = self._waiting.popitem(last=False)
            actions.append(Reject(ticket, error))
        return actions + self._assign()

    def start_blocked(self) -> list[Action]:
        """A start found no room anywhere. Requests wait on; `unblock` tries again."""
        self._starting -= 1
        self._blocked = True
        return []

    def unblock(self) -> list[Action]:
        """Room may have come free somewhere."""
        self._blocked = False
        return self._assign()

    def released(self, instance: InstanceId, now: float, *, survives: bool) -> list[Action]:
        """A busy instance has answered; `survives` says whether it may be used again."""
        member = self._members.get(instance)
        if member is None or member.state is not InstanceState.BUSY:
            return []  # it was lost meanwhile
        if survives:
            return self._becomes_idle(instance, now)
        return self._stop(instance, ColdCause.REPLACED) + self._assign()

    def lost(self, instance: InstanceId) -> list[Action]:
        """An instance ended by itself, or has been stopped: nothing of it is left."""
        member = self._members.pop(instance, None)
        if member is None:
            return []
        if member.state is InstanceState.IDLE:
            self._idle.remove(instance)
        if member.state is not InstanceState.STOPPING:
            self._last_end = ColdCause.REPLACED
        move(member.state, InstanceState.GONE)
        return self._assign()

    def expire(self, now: float, idle_timeout_s: float) -> list[Action]:
        """Stop what has been idle for too long."""
        actions: list[Action] = []
        while self._idle and now - self._members[self._idle[0]].idle_since >= idle_timeout_s:
            actions += self._stop(self._idle[0], ColdCause.EXPIRED)
        return actions

    def evict(self, instance: InstanceId) -> list[Action]:
        """Stop an idle instance to make room for another function's."""
        return self._stop(instance, ColdCause.EVICTED)

    def retire(self) -> list[Action]:
        """This code and configuration is no longer current: stop what is idle now, and the rest
        as it is released. Requests that wait came before the change and are still served."""
        self.retired = True
        actions: list[Action] = []
        while self._idle:
            actions += self._stop(self._idle[0], ColdCause.REPLACED)
        return actions

    # ------------------------------------------------------------ deciding

    def _becomes_idle(self, instance: InstanceId, now: float) -> list[Action]:
        member = self._members[instance]
        member.state = move(member.state, InstanceState.IDLE)
        member.idle_since = self.last_used_at = now
        self._idle.append(instance)
        actions = self._assign()
        if self.retired and member.state is InstanceState.IDLE:
            actions += self._stop(instance, ColdCause.REPLACED)
        return actions

    def _assign(self) -> list[Action]:
        actions: list[Action] = []
        while self._waiting and (instance := self.take_idle()) is not None:
            ticket, _ = self._waiting.popitem(last=False)
            actions.append(Grant(ticket, instance))
        while not self._blocked and self._starting < len(self._waiting):
            actions.append(Start(self._cold_cause()))
            self._starting += 1
        return actions

    def _cold_cause(self) -> ColdCause:
        alive = self.count(InstanceState.BUSY) + self._starting
        return ColdCause.SCALE_OUT if alive else self._last_end

    def _stop(self, instance: InstanceId, cause: ColdCause) -> list[Action]:
        member = self._members[instance]
        if member.state is InstanceState.IDLE:
            self._idle.remove(instance)
        member.state = move(member.state, InstanceState.STOPPING)
        self._last_end = cause
        return [Stop(instance)]
