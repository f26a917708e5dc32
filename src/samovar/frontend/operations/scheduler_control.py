"""What the operations of the scheduler work with."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass

from samovar.clock import Clock
from samovar.frontend.auth import Caller
from samovar.frontend.operations.control import new_revision_id
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.schedule import DEFAULT_GROUP, GroupId, ScheduleGroup
from samovar.ports import ScheduleGroupStore, ScheduleStore

PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class SchedulerControl:
    """The parts that operations need, and the facts of this platform."""

    schedules: ScheduleStore
    groups: ScheduleGroupStore
    clock: Clock
    changed: Callable[[], None]
    """Called when a schedule may be due earlier than it was, or a group is to be deleted."""
    endpoint_of: Callable[[str], str | None]
    """Of a service that schedules may send to; None: it is not configured."""
    random: Callable[[], float] = random.random
    new_revision: Callable[[], str] = new_revision_id

    def now(self) -> dt.datetime:
        """The platform's time, to the millisecond: as the API tells it."""
        return dt.datetime.fromtimestamp(round(self.clock.now(), 3), dt.UTC)

    async def ensure_default(self, caller: Caller) -> GroupId:
        """The caller's default group, which is always there."""
        group, now = GroupId(caller.account, caller.region, DEFAULT_GROUP), self.now()
        await self.groups.ensure(ScheduleGroup(id=group, created=now, last_modified=now))
        return group


def refused(message: str) -> PlatformError:
    """A ValidationException."""
    return PlatformError(ErrorCode.VALIDATION, message)
