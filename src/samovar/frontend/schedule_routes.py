"""What AWS's API does not tell of schedules: when they fire next, and what they have missed.

GET  /_samovar/schedules?marker=           a page of all of them, by group and name
GET  /_samovar/schedules/GROUP/NAME        one
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from samovar.frontend.own import caller_of, json_response
from samovar.frontend.request import HttpResponse, Request
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.schedule import ScheduleId
from samovar.model.schedule_plan import PlannedSchedule
from samovar.ports import ScheduleFilter, ScheduleStore

PAGE_SIZE = 100


class ScheduleRoutes:
    """See the module's text."""

    def __init__(self, schedules: ScheduleStore) -> None:
        self._schedules = schedules

    async def __call__(self, request: Request, rest: str) -> HttpResponse:
        """Answer one request. Raises `PlatformError`."""
        caller = caller_of(request)
        group, slash, name = rest.partition("/")
        if request.method != "GET" or (rest and not slash):
            raise PlatformError(
                ErrorCode.UNKNOWN_OPERATION, f"No such page: {request.raw_path[:200]}"
            )
        if rest:
            one = await self._schedules.get(ScheduleId(*caller, group, name))
            return json_response(200, _described(one))
        page = await self._schedules.list_schedules(
            *caller,
            ScheduleFilter(),
            marker=request.query.get("marker", [None])[0],
            limit=PAGE_SIZE,
        )
        schedules = [_described(planned) for planned in page.items]
        return json_response(200, {"schedules": schedules, "marker": page.marker})


def _described(planned: PlannedSchedule) -> dict[str, Any]:
    schedule = planned.schedule
    return {
        "group": schedule.id.group,
        "name": schedule.id.name,
        "expression": schedule.expression,
        "timezone": schedule.timezone,
        "target": schedule.target.arn,
        "state": schedule.state.value,
        "next": _time(planned.tick_at),
        "missed": planned.missed,
    }


def _time(moment: float | None) -> str | None:
    return None if moment is None else dt.datetime.fromtimestamp(moment, dt.UTC).isoformat()
