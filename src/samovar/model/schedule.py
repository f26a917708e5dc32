"""A schedule: when something is to happen, and what.

It fires at its *ticks*, the times that its expression, its start and its end allow; with a flexible
window at a random moment after each. Times are seconds since the epoch, of the platform's clock.

A *group* holds schedules; it is deleted with all of them, for which it is DELETING until they are
gone.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

import msgspec

from samovar.model.cron import LAST_YEAR
from samovar.model.event import DeliveryPolicy
from samovar.model.schedule_expression import (
    At,
    Rate,
    parse_expression,
    parse_timezone,
)

DEFAULT_GROUP = "default"

MAX_RETRIES = 185
MAX_AGE_S = 86400
"""Defaults of a RetryPolicy, and the most that it may say.
https://docs.aws.amazon.com/scheduler/latest/APIReference/API_RetryPolicy.html"""

MAX_INPUT_BYTES = 256 * 1024
"""https://docs.aws.amazon.com/scheduler/latest/UserGuide/scheduler-quotas.html"""


END_OF_TIME = dt.datetime(LAST_YEAR + 1, 1, 1, tzinfo=dt.UTC).timestamp()
"""Where the years of cron expressions end, nothing else fires either."""


class ScheduleState(StrEnum):
    """Whether it fires."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class GroupState(StrEnum):
    """ACTIVE ──▶ DELETING ──▶ (gone)."""

    ACTIVE = "ACTIVE"
    DELETING = "DELETING"


class GroupId(NamedTuple):
    """Which group: unique within an account and region."""

    account: str
    region: str
    name: str

    @property
    def arn(self) -> str:
        """Its ARN."""
        return f"arn:aws:scheduler:{self.region}:{self.account}:schedule-group/{self.name}"


class ScheduleId(NamedTuple):
    """Which schedule: unique within its group."""

    account: str
    region: str
    group: str
    name: str

    @property
    def arn(self) -> str:
        """Its ARN."""
        place = f"{self.region}:{self.account}"
        return f"arn:aws:scheduler:{place}:schedule/{self.group}/{self.name}"

    @property
    def group_id(self) -> GroupId:
        """Its group."""
        return GroupId(self.account, self.region, self.group)


class ScheduleGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group of schedules, with its tags."""

    id: GroupId
    created: dt.datetime
    last_modified: dt.datetime
    state: GroupState = GroupState.ACTIVE
    tags: Mapping[str, str] = {}
    client_token: str | None = None
    """Of the request that made it."""


class ScheduleTarget(msgspec.Struct, frozen=True, kw_only=True):
    """What a schedule reaches, with what, and how hard it tries."""

    arn: str
    role_arn: str
    input: str | None = None
    """With keywords such as `<aws.scheduler.scheduled-time>`; None: AWS's own notification."""
    attributes: Mapping[str, str] = {}
    """As of an event: a queue's MessageGroupId, a bus's DetailType and Source."""
    max_retries: int = MAX_RETRIES
    max_age_s: int = MAX_AGE_S
    dead_letter_arn: str | None = None

    @property
    def policy(self) -> DeliveryPolicy:
        """How its events are to be delivered."""
        return DeliveryPolicy(
            max_attempts=1 + self.max_retries,
            max_age_s=float(self.max_age_s),
            dead_letter_arn=self.dead_letter_arn,
        )


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as its owner has set it."""

    id: ScheduleId
    expression: str
    target: ScheduleTarget
    created: dt.datetime
    last_modified: dt.datetime
    timezone: str = "UTC"
    start: dt.datetime | None = None
    end: dt.datetime | None = None
    window_minutes: int = 0
    """Of a flexible time window; 0: OFF."""
    state: ScheduleState = ScheduleState.ENABLED
    description: str | None = None
    delete_when_done: bool = False
    client_token: str | None = None
    """Of the request that made it."""

    def next_tick(self, after: float) -> float | None:
        """Its first tick later than `after`; None: there is none."""
        return next(self.ticks(after), None)

    def ticks(self, after: float) -> Iterator[float]:
        """Its ticks later than `after`. Pays no heed to its state."""
        zone = parse_timezone(self.timezone)
        expression = parse_expression(self.expression)
        if isinstance(expression, At):  # which has neither start nor end
            moment = expression.moment(zone)
            if moment > after:
                yield moment
            return
        last = END_OF_TIME if self.end is None else min(END_OF_TIME, self.end.timestamp())
        if self.start is not None:
            after = max(after, just_before(self.start.timestamp()))
        if after >= last:
            return
        if isinstance(expression, Rate):
            ticks = _regular((self.start or self.created).timestamp(), expression.every_s, after)
        else:
            since = dt.datetime.fromtimestamp(after, dt.UTC)
            ticks = (moment.timestamp() for moment in expression.moments_after(since, zone))
        yield from itertools.takewhile(lambda tick: tick <= last, ticks)

    @property
    def once(self) -> bool:
        """Whether it is to fire at one time only."""
        return isinstance(parse_expression(self.expression), At)


def _regular(first: float, every_s: int, after: float) -> Iterator[float]:
    for number in itertools.count(max(0, math.floor((after - first) / every_s))):
        tick = first + number * every_s
        if tick > after:  # floats are no exact multiples: the first or two are not
            yield tick


def just_before(moment: float) -> float:
    """What the moment itself is later than."""
    return moment - 1e-3
