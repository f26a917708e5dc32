"""Create, read, update, list and delete schedules.

https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html and its siblings.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from samovar.frontend.auth import Caller
from samovar.frontend.operations.control import Handler, Params, Result
from samovar.frontend.operations.schedule_targets import describe_target, target_of
from samovar.frontend.operations.scheduler_control import PAGE_SIZE, SchedulerControl, refused
from samovar.model.cron import Cron, ExpressionError
from samovar.model.schedule import (
    DEFAULT_GROUP,
    GroupId,
    Schedule,
    ScheduleId,
    ScheduleState,
    just_before,
)
from samovar.model.schedule_expression import At, parse_expression, parse_timezone
from samovar.model.schedule_plan import PlannedSchedule, plan
from samovar.ports import ScheduleFilter

LENIENCE_S = 300.0
"""How long ago a new schedule may begin: requests take time, and clocks differ."""

EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


class ScheduleOperations:
    """The operations whose noun is the schedule."""

    def __init__(self, control: SchedulerControl) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "CreateSchedule": self.create,
            "GetSchedule": self.get,
            "UpdateSchedule": self.update,
            "ListSchedules": self.list,
            "DeleteSchedule": self.delete,
        }

    async def create(self, caller: Caller, params: Params) -> Result:
        control, now = self._control, self._control.now()
        schedule = self._schedule(caller, params, created=now, now=now)
        _check_new_times(schedule, None, now)
        if schedule.id.group == DEFAULT_GROUP:
            await control.ensure_default(caller)
        after = now.timestamp() - LENIENCE_S if schedule.once else just_before(now.timestamp())
        await control.schedules.create(
            plan(schedule, control.new_revision(), after, control.random)
        )
        control.changed()
        return {"ScheduleArn": schedule.id.arn}

    async def get(self, caller: Caller, params: Params) -> Result:
        return _describe((await self._control.schedules.get(_named(caller, params))).schedule)

    async def update(self, caller: Caller, params: Params) -> Result:
        """All of it: what the request leaves out has its default afterwards."""
        control, now = self._control, self._control.now()
        schedule_id = _named(caller, params)

        def change(known: PlannedSchedule) -> PlannedSchedule:
            was = known.schedule
            schedule = self._schedule(caller, params, created=was.created, now=now)
            _check_new_times(schedule, was, now)
            after = now.timestamp()
            if _fires_alike(schedule, was):
                # A tick that is due, and not fired yet, is not lost.
                after = just_before(min(after, known.tick_at or after))
            elif schedule.once:
                after -= LENIENCE_S
            return plan(schedule, control.new_revision(), after, control.random, known.missed)

        await control.schedules.replace(schedule_id, change)
        control.changed()
        return {"ScheduleArn": schedule_id.arn}

    async def list(self, caller: Caller, params: Params) -> Result:
        state, group = params.get("State"), params.get("GroupName")
        if group is not None and group != DEFAULT_GROUP:
            await self._control.groups.get(GroupId(caller.account, caller.region, group))
        wanted = ScheduleFilter(
            group=group,
            prefix=params.get("NamePrefix") or "",
            state=None if state is None else ScheduleState(state),
        )
        page = await self._control.schedules.list_schedules(
            caller.account,
            caller.region,
            wanted,
            marker=params.get("NextToken"),
            limit=params.get("MaxResults") or PAGE_SIZE,
        )
        schedules = [_summary(planned.schedule) for planned in page.items]
        return {"Schedules": schedules, "NextToken": page.marker}

    async def delete(self, caller: Caller, params: Params) -> Result:
        schedule, token = _named(caller, params), params.get("ClientToken")
        if not self._control.deletions.has(schedule.arn, token):
            await self._control.schedules.delete(schedule)
            self._control.deletions.add(schedule.arn, token)
        return {}

    # ------------------------------------------------------------ inside

    def _schedule(
        self, caller: Caller, params: Params, *, created: dt.datetime, now: dt.datetime
    ) -> Schedule:
        if params.get("KmsKeyArn") is not None:
            raise refused("This server does not encrypt schedules: leave KmsKeyArn out.")
        schedule = Schedule(
            id=_named(caller, params),
            expression=params["ScheduleExpression"],
            timezone=params.get("ScheduleExpressionTimezone") or "UTC",
            target=target_of(caller, params["Target"], self._control.endpoint_of),
            created=created,
            last_modified=now,
            start=params.get("StartDate"),
            end=params.get("EndDate"),
            window_minutes=_window_minutes(params["FlexibleTimeWindow"]),
            state=ScheduleState(params.get("State") or ScheduleState.ENABLED),
            description=params.get("Description"),
            delete_when_done=params.get("ActionAfterCompletion") == "DELETE",
            client_token=params.get("ClientToken"),
        )
        _check_expression(schedule)
        return schedule


def _named(caller: Caller, params: Params) -> ScheduleId:
    group = params.get("GroupName") or DEFAULT_GROUP
    return ScheduleId(caller.account, caller.region, group, params["Name"])


def _window_minutes(params: Params) -> int:
    minutes: int | None = params.get("MaximumWindowInMinutes")
    if params["Mode"] == "OFF":
        if minutes is not None:
            raise refused("MaximumWindowInMinutes is for a flexible time window: the mode is OFF.")
        return 0
    if minutes is None:
        raise refused("A flexible time window needs MaximumWindowInMinutes.")
    return minutes


def _check_expression(schedule: Schedule) -> None:
    try:
        zone = parse_timezone(schedule.timezone)
    except ExpressionError as error:
        raise refused(f"Invalid ScheduleExpressionTimezone: {error}.") from error
    try:
        expression = parse_expression(schedule.expression)
        if isinstance(expression, Cron) and expression.next_after(EPOCH, zone) is None:
            raise ExpressionError("no such time ever comes")
    except ExpressionError as error:
        raise refused(f"Invalid Schedule Expression {schedule.expression}: {error}.") from error


def _check_new_times(schedule: Schedule, was: Schedule | None, now: dt.datetime) -> None:
    """Times that have been accepted once may have passed since."""
    earliest = now - dt.timedelta(seconds=LENIENCE_S)
    if schedule.once:
        expression = parse_expression(schedule.expression)
        assert isinstance(expression, At)
        passed = expression.moment(parse_timezone(schedule.timezone)) < earliest.timestamp()
        if passed and (was is None or not _fires_alike(schedule, was)):
            raise refused(
                f"Invalid Schedule Expression {schedule.expression}: the time has passed already."
            )
        return
    start, end = schedule.start, schedule.end
    if start is not None and start < earliest and (was is None or was.start != start):
        raise refused("The StartDate you specify cannot be earlier than 5 minutes ago.")
    if end is not None and end <= now and (was is None or was.end != end):
        raise refused("The EndDate you specify cannot be in the past.")
    if start is not None and end is not None and end <= start:
        raise refused("The EndDate you specify must come after the StartDate you specify.")


def _fires_alike(one: Schedule, other: Schedule) -> bool:
    """Whether two have the same ticks."""
    return all(
        getattr(one, field) == getattr(other, field)
        for field in ("expression", "timezone", "start", "end", "state")
    )


def _describe(schedule: Schedule) -> Result:
    window = schedule.window_minutes
    flexible = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": window} if window else {"Mode": "OFF"}
    return {
        "Arn": schedule.id.arn,
        "Name": schedule.id.name,
        "GroupName": schedule.id.group,
        "ScheduleExpression": schedule.expression,
        "ScheduleExpressionTimezone": schedule.timezone,
        "StartDate": schedule.start,
        "EndDate": schedule.end,
        "Description": schedule.description,
        "State": schedule.state.value,
        "FlexibleTimeWindow": flexible,
        "Target": describe_target(schedule.target),
        "ActionAfterCompletion": "DELETE" if schedule.delete_when_done else "NONE",
        "CreationDate": schedule.created,
        "LastModificationDate": schedule.last_modified,
    }


def _summary(schedule: Schedule) -> Result:
    """The ScheduleSummary shape."""
    whole = _describe(schedule)
    members = ("Arn", "Name", "GroupName", "State", "CreationDate", "LastModificationDate")
    return {name: whole[name] for name in members} | {"Target": {"Arn": schedule.target.arn}}
