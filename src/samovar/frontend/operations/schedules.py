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
from samovar.model.schedule_expression import parse_expression, parse_timezone
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
        after = _first_after(schedule, None, now)
        await control.schedules.create(
            plan(schedule, control.new_revision(), after, control.random)
        )
        control.deletions.forget(schedule.id.arn)
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
            after = _first_after(schedule, known, now)
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
        if isinstance(expression, Cron) and not any(expression.moments_after(EPOCH, zone)):
            raise ExpressionError("no such time ever comes")
    except ExpressionError as error:
        raise refused(f"Invalid Schedule Expression {schedule.expression}: {error}.") from error


def _check_new_times(schedule: Schedule, was: Schedule | None, now: dt.datetime) -> None:
    """Times that have been accepted once may have passed since."""
    earliest = now - dt.timedelta(seconds=LENIENCE_S)
    if schedule.once:
        if _is_new(schedule, was) and schedule.next_tick(earliest.timestamp()) is None:
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
    if _is_new(schedule, was) and schedule.next_tick(just_before(now.timestamp())) is None:
        raise refused(
            f"Invalid Schedule Expression {schedule.expression}: no such time comes between the "
            "StartDate and the EndDate."
        )


def _first_after(schedule: Schedule, known: PlannedSchedule | None, now: dt.datetime) -> float:
    """What its next tick is to be later than."""
    moment = now.timestamp()
    if known is None or _is_new(schedule, known.schedule):
        if schedule.once:
            return moment - LENIENCE_S
        return just_before(moment) if known is None else moment
    # It keeps its ticks: one that is due, and not fired yet, is not lost, and none comes again.
    return moment if known.tick_at is None else just_before(min(moment, known.tick_at))


def _is_new(schedule: Schedule, was: Schedule | None) -> bool:
    """Whether it has other ticks than before."""
    if was is None:
        return True
    if schedule.once and was.once:  # start and end say nothing of it
        return next(schedule.ticks(0), None) != next(was.ticks(0), None)
    return any(
        getattr(schedule, field) != getattr(was, field)
        for field in ("expression", "timezone", "start", "end")
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
