"""Schedules for tests, and the moments that they are about."""

from __future__ import annotations

import datetime as dt
from typing import Any

from samovar.model.schedule import GroupId, Schedule, ScheduleGroup, ScheduleId, ScheduleTarget
from samovar.model.schedule_plan import PlannedSchedule, plan

ACCOUNT, REGION = "000000000000", "us-east-1"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
CREATED = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
NOON = CREATED.timestamp()
MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86400.0


def a_group(name: str = "default", **more: Any) -> ScheduleGroup:
    """A group that is active."""
    group = GroupId(ACCOUNT, REGION, name)
    return ScheduleGroup(id=group, created=CREATED, last_modified=CREATED, **more)


def a_schedule(
    expression: str = "rate(5 minutes)", *, name: str = "s", group: str = "default", **more: Any
) -> Schedule:
    """One that was made at noon; `target`: what differs of its target."""
    target = {"arn": FUNCTION, "role_arn": "arn:aws:iam::000000000000:role/r"}
    return Schedule(
        id=ScheduleId(ACCOUNT, REGION, group, name),
        expression=expression,
        created=CREATED,
        last_modified=CREATED,
        target=ScheduleTarget(**target | more.pop("target", {})),
        **more,
    )


def planned(schedule: Schedule, after: float = NOON - 1, draw: float = 0.0) -> PlannedSchedule:
    """Its plan: by default from noon on."""
    return plan(schedule, "revision", after, lambda: draw)


def clock_times(moments: Any) -> list[str]:
    """Moments as a clock shows them, in UTC."""
    return [dt.datetime.fromtimestamp(moment, dt.UTC).strftime("%d %H:%M:%S") for moment in moments]
