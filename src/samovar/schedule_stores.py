"""The ports of the stores of schedules: Protocols only, as in `ports.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from samovar.model.event import Event
from samovar.model.schedule import GroupId, ScheduleGroup, ScheduleId, ScheduleState
from samovar.model.schedule_plan import PlannedSchedule
from samovar.stores import Page


@dataclass(frozen=True, slots=True)
class Firing:
    """What a schedule that is due does: all of it in one transaction, if it still `was` so."""

    was: PlannedSchedule
    then: PlannedSchedule | None
    """None: it is deleted."""
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class ScheduleFilter:
    """Which schedules to list."""

    group: str | None = None
    prefix: str = ""
    state: ScheduleState | None = None


class ScheduleStore(Protocol):
    """Durable schedules and their groups. Each method is one transaction, durable on return.

    Errors are `PlatformError`: NOT_FOUND ("Schedule NAME does not exist."), CONFLICT ("Schedule
    NAME already exists."), QUOTA_EXCEEDED.
    """

    async def create(self, planned: PlannedSchedule) -> None:
        """Add one to its group. Nothing happens where the same has been created with the same
        token."""
        ...

    async def get(self, schedule: ScheduleId) -> PlannedSchedule: ...
    async def replace(
        self, schedule: ScheduleId, change: Callable[[PlannedSchedule], PlannedSchedule]
    ) -> None:
        """Put `change(schedule)` in its place; what `change` raises undoes it."""
        ...

    async def delete(self, schedule: ScheduleId) -> None: ...
    async def list_schedules(
        self, account: str, region: str, wanted: ScheduleFilter, *, marker: str | None, limit: int
    ) -> Page[PlannedSchedule]:
        """By group and name; without the inputs of their targets."""
        ...

    async def due(self, now: float, limit: int) -> Sequence[PlannedSchedule]:
        """Those whose time has come, the longest due first."""
        ...

    async def next_at(self) -> float | None:
        """When the first of all fires."""
        ...

    async def fire(self, firing: Firing) -> bool:
        """Move a schedule on and accept its events. False: it is not what it was any more, and
        nothing was written. Raises TOO_MANY_REQUESTS where the events' queue is full."""
        ...


class ScheduleGroupStore(Protocol):
    """Durable groups of schedules, as `ScheduleStore` (of "Schedule group NAME …")."""

    async def create(self, group: ScheduleGroup) -> None:
        """Nothing happens where the same has been created with the same token."""
        ...

    async def ensure(self, group: ScheduleGroup) -> None:
        """Add a group unless it is there."""
        ...

    async def get(self, group: GroupId) -> ScheduleGroup: ...
    async def list_groups(
        self, account: str, region: str, prefix: str, *, marker: str | None, limit: int
    ) -> Page[ScheduleGroup]:
        """By name."""
        ...

    async def replace(
        self, group: GroupId, change: Callable[[ScheduleGroup], ScheduleGroup]
    ) -> None:
        """Put `change(group)` in its place; what `change` raises undoes it."""
        ...

    async def sweep(self, limit: int) -> bool:
        """Delete up to so many schedules of groups that are being deleted, and groups that are
        empty then. Returns whether there is more to do."""
        ...
