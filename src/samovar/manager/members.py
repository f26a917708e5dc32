"""The instances of a pool: how many requests each has, and which may take another (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from samovar.manager.shelf import Shelf
from samovar.model.instance import InstanceId, InstanceState, move


@dataclass(slots=True)
class Member:
    """One instance, from its start's end to its own."""

    id: InstanceId
    provisioned: bool
    """Counts towards provisioned concurrency: never expires, is never evicted."""
    since: float
    """When it came up."""
    state: InstanceState = InstanceState.STARTING
    running: int = 0
    """Requests that it has."""
    idle_since: float = 0.0
    until: float = math.inf
    """When it is to go, if it is idle for so long."""
    leaving: bool = False
    """Nothing new goes there; it is stopped when the last of its requests has ended."""


class Members:
    """`hard`: requests at once in one instance, at the most. `soft`: from so many on, another one
    is preferred."""

    __slots__ = ("_free", "_members", "_provisioned_idle", "hard", "provisioned", "soft", "staying")

    def __init__(self, hard: int, soft: int) -> None:
        self.hard = hard
        self.soft = soft
        self._members: dict[InstanceId, Member] = {}
        self._free = Shelf()
        """Those that may take a request, but for the provisioned ones."""
        self._provisioned_idle: dict[InstanceId, Member] = {}
        self.staying = 0
        """Those that are neither leaving nor stopping."""
        self.provisioned = 0
        """Such ones that count towards provisioned concurrency."""

    def __len__(self) -> int:
        """All of them, until nothing of them is left."""
        return len(self._members)

    def get(self, instance: InstanceId) -> Member | None:
        """None: it is gone."""
        return self._members.get(instance)

    def is_provisioned(self, instance: InstanceId) -> bool:
        """Whether it counts towards provisioned concurrency."""
        member = self._members.get(instance)
        return member is not None and member.provisioned

    @property
    def idle(self) -> int:
        """Those that have no request, and may take one."""
        return self._free.idle + len(self._provisioned_idle)

    @property
    def idle_provisioned(self) -> list[Member]:
        """Of the provisioned ones."""
        return list(self._provisioned_idle.values())

    @property
    def idle_on_demand(self) -> list[Member]:
        """Of the others; the one that has been idle for longest is at the front."""
        return [self._members[instance] for instance in self._free.idle_instances()]

    def count(self, state: InstanceState) -> int:
        """Those in a state."""
        return sum(member.state is state for member in self._members.values())

    @property
    def running(self) -> int:
        """Requests of all of them."""
        return sum(member.running for member in self._members.values())

    def over_soft(self) -> int:
        """Requests that would rather be in another instance."""
        if self.hard == 1:
            return 0
        return sum(
            max(0, member.running - self.soft)
            for member in self._members.values()
            if not member.leaving
        )

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    # ------------------------------------------------------------ taking and giving back

    def take_provisioned(self) -> InstanceId | None:
        """An idle one of the provisioned, with a request now; None where none is."""
        if not self._provisioned_idle:
            return None
        instance, member = self._provisioned_idle.popitem()
        member.state = move(member.state, InstanceState.BUSY)
        member.running = 1
        return instance

    def take(self) -> InstanceId | None:
        """The fullest one under its soft limit, with a request more; None where none is."""
        instance = self._free.fullest_below(self.soft)
        if instance is not None:
            self._give_request(instance)
        return instance

    def take_any(self) -> InstanceId | None:
        """The best one that may take a request, with that request."""
        instance = self.take_provisioned() or self.take()
        if instance is None and (instance := self._free.emptiest()) is not None:
            self._give_request(instance)
        return instance

    def give_back(self, member: Member) -> None:
        """One of its requests has ended."""
        on_shelf = self._is_on_shelf(member)
        if on_shelf:
            self._free.remove(member.id, member.running)
        member.running -= 1
        if member.leaving:
            return
        if not member.running:
            self.rests(member)
        else:
            self._free.put(member.id, member.running)

    def rests(self, member: Member) -> None:
        """It has no request, and may take one."""
        member.state = move(member.state, InstanceState.IDLE)
        if member.provisioned:
            self._provisioned_idle[member.id] = member
        else:
            self._free.put(member.id, 0)

    # ------------------------------------------------------------ coming and going

    def add(self, instance: InstanceId, now: float, *, provisioned: bool) -> Member:
        """One has come up."""
        member = self._members[instance] = Member(instance, provisioned, now)
        self.staying += 1
        self.provisioned += provisioned
        self.rests(member)
        return member

    def leave(self, member: Member) -> None:
        """Let nothing new go there."""
        if member.leaving:
            return
        if member.provisioned:
            self.provisioned -= 1
            self._provisioned_idle.pop(member.id, None)
        elif self._is_on_shelf(member):
            self._free.remove(member.id, member.running)
        self.staying -= 1
        member.leaving = True

    def leave_all_but(self, provisioned: int) -> list[Member]:
        """Let nothing new go to more of the provisioned ones than so many; return those of the
        others that have no request."""
        surplus = self.provisioned - provisioned
        if surplus <= 0:
            return []
        staying = (member for member in self if member.provisioned and not member.leaving)
        going = sorted(staying, key=lambda member: member.running)[:surplus]
        for member in going:
            self.leave(member)
        return [member for member in going if not member.running]

    def stop(self, member: Member) -> None:
        """It is being stopped. One that has requests, or is stopped already, cannot be."""
        self.leave(member)
        member.state = move(member.state, InstanceState.STOPPING)

    def remove(self, member: Member) -> None:
        """Nothing of it is left."""
        self.leave(member)
        del self._members[member.id]
        member.state = move(member.state, InstanceState.GONE)

    def _give_request(self, instance: InstanceId) -> None:
        member = self._members[instance]
        self._free.remove(instance, member.running)
        if not member.running:
            member.state = move(member.state, InstanceState.BUSY)
        member.running += 1
        if member.running < self.hard:
            self._free.put(instance, member.running)

    def _is_on_shelf(self, member: Member) -> bool:
        return not member.leaving and not member.provisioned and member.running < self.hard
