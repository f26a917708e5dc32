"""What the operations of the scheduler work with."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from samovar.clock import Clock
from samovar.frontend.auth import Caller
from samovar.frontend.operations.control import new_revision_id
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.schedule import DEFAULT_GROUP, GroupId, ScheduleGroup
from samovar.ports import ScheduleGroupStore, ScheduleStore

PAGE_SIZE = 100

MAX_REMEMBERED = 1024


class Deletions:
    """What the last deletions were asked for with: a client that has not heard the answer to one
    asks again, with the same token. They are not remembered beyond this server's life."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}

    def add(self, arn: str, token: str | None) -> None:
        """Remember a deletion."""
        self.forget(arn)
        if token is not None:
            self._tokens[arn] = token
            if len(self._tokens) > MAX_REMEMBERED:
                del self._tokens[next(iter(self._tokens))]

    def forget(self, arn: str) -> None:
        """What was deleted has been created again."""
        self._tokens.pop(arn, None)

    def has(self, arn: str, token: str | None) -> bool:
        """Whether this very request has been made."""
        return token is not None and self._tokens.get(arn) == token


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
    deletions: Deletions = field(default_factory=Deletions)
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
