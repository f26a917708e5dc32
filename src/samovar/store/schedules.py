"""Schedules in SQL: the `ScheduleStore` of `schedule_stores.py`. Groups: `schedule_groups.py`.

A schedule is created and deleted with its group's row locked, which counts them. It fires by a
compare-and-set on its revision and next time, in the transaction that accepts its events: of two
servers, or of a tick and an update, one comes first, and the other finds it changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from msgspec import structs
from sqlalchemy.ext.asyncio import AsyncConnection

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import Event
from samovar.model.schedule import Schedule, ScheduleId
from samovar.model.schedule_plan import PlannedSchedule
from samovar.ports import Firing, Page, ScheduleFilter
from samovar.store.database import Database
from samovar.store.markers import read_marker, write_marker
from samovar.store.schedule_groups import count_in, lock_active
from samovar.store.schema import schedule_groups, schedules

_AT = schedules.c

_LISTED = [column for column in _AT if column.name != "input"]

_UNCHANGED = (
    *(_AT[column] == sa.bindparam(f"of_{column}") for column in ScheduleId._fields),
    _AT.revision == sa.bindparam("was_revision"),
    _AT.next_at == sa.bindparam("was_next_at"),
)
_MOVE_ON = (
    sa.update(schedules)
    .where(*_UNCHANGED)
    .values({column: sa.bindparam(column) for column in ("tick_at", "next_at", "missed")})
)
_GO = sa.delete(schedules).where(*_UNCHANGED)

MAX_SCHEDULES = 1_000_000
"""In an account and region: https://docs.aws.amazon.com/scheduler/latest/UserGuide/scheduler-quotas.html"""


class AcceptIf(Protocol):
    """Accepts events in one transaction with a change; see `SqlEventStore.accept_if`."""

    def __call__(
        self, change: Callable[[sa.Connection], bool], *events: Event
    ) -> Awaitable[bool]: ...


class SqlScheduleStore:
    """The `ScheduleStore` over a `Database`."""

    def __init__(
        self, database: Database, accept_if: AcceptIf, max_schedules: int = MAX_SCHEDULES
    ) -> None:
        self._database = database
        self._accept_if = accept_if
        self._max_schedules = max_schedules

    async def create(self, planned: PlannedSchedule) -> None:
        """See the port."""
        schedule = planned.schedule
        async with self._database.write() as connection:
            await lock_active(connection, schedule.id.group_id)
            there = await _find(connection, schedule.id)
            if there is not None:
                if _same_request(there.schedule, schedule):
                    return
                raise PlatformError(
                    ErrorCode.CONFLICT, f"Schedule {schedule.id.name} already exists."
                )
            await self._check_room(connection, schedule.id)
            await connection.execute(sa.insert(schedules), _row(planned))
            await connection.execute(count_in(schedule.id.group_id, 1))

    async def get(self, schedule: ScheduleId) -> PlannedSchedule:
        """See the port."""
        async with self._database.read() as connection:
            return await _get(connection, schedule)

    async def replace(
        self, schedule: ScheduleId, change: Callable[[PlannedSchedule], PlannedSchedule]
    ) -> None:
        """See the port."""
        async with self._database.write() as connection:
            changed = change(await _get(connection, schedule, lock=True))
            await connection.execute(
                sa.update(schedules).where(*_one(schedule)).values(_row(changed))
            )

    async def delete(self, schedule: ScheduleId) -> None:
        """See the port."""
        async with self._database.write() as connection:
            await connection.execute(count_in(schedule.group_id, -1))  # locks the group
            gone = await connection.execute(sa.delete(schedules).where(*_one(schedule)))
            if gone.rowcount == 0:
                raise _not_there(schedule)

    async def list_schedules(
        self, account: str, region: str, wanted: ScheduleFilter, *, marker: str | None, limit: int
    ) -> Page[PlannedSchedule]:
        """See the port."""
        query = sa.select(*_LISTED).where(_AT.account == account, _AT.region == region)
        if wanted.group is not None:
            query = query.where(_AT.group == wanted.group)
        if wanted.prefix:
            query = query.where(_AT.name.startswith(wanted.prefix, autoescape=True))
        if wanted.state is not None:
            query = query.where(_AT.state == wanted.state.value)
        if marker is not None:
            after = read_marker(marker, "schedules", str, str)
            query = query.where(sa.tuple_(_AT.group, _AT.name) > sa.tuple_(*after))
        async with self._database.read() as connection:
            ordered = query.order_by(_AT.group, _AT.name).limit(limit + 1)
            rows = (await connection.execute(ordered)).all()
        shown = rows[:limit]
        more = write_marker("schedules", shown[-1].group, shown[-1].name) if rows[limit:] else None
        return Page([_planned(row, None) for row in shown], more)

    async def due(self, now: float, limit: int) -> Sequence[PlannedSchedule]:
        """See the port."""
        query = sa.select(schedules).where(_AT.next_at <= now).order_by(_AT.next_at).limit(limit)
        async with self._database.read() as connection:
            return [_planned(row, row.input) for row in await connection.execute(query)]

    async def next_at(self) -> float | None:
        """See the port."""
        async with self._database.read() as connection:
            first: float | None = await connection.scalar(sa.select(sa.func.min(_AT.next_at)))
        return first

    async def fire(self, firing: Firing) -> bool:
        """See the port."""
        was, then = firing.was, firing.then
        schedule = was.schedule.id
        values = {
            **{f"of_{column}": value for column, value in schedule._asdict().items()},
            "was_revision": was.revision,
            "was_next_at": was.next_at,
        }
        if then is not None:
            values |= {"tick_at": then.tick_at, "next_at": then.next_at, "missed": then.missed}

        def change(connection: sa.Connection) -> bool:
            if connection.execute(_GO if then is None else _MOVE_ON, values).rowcount == 0:
                return False
            if then is None:
                connection.execute(count_in(schedule.group_id, -1))
            return True

        return await self._accept_if(change, *firing.events)

    async def _check_room(self, connection: AsyncConnection, schedule: ScheduleId) -> None:
        of = schedule_groups.c
        number = await connection.scalar(
            sa.select(sa.func.sum(of.schedules)).where(
                of.account == schedule.account, of.region == schedule.region
            )
        )
        if (number or 0) >= self._max_schedules:
            raise PlatformError(ErrorCode.QUOTA_EXCEEDED, f"There are {number} schedules already.")


def _same_request(there: Schedule, asked: Schedule) -> bool:
    """Whether what is there was made by the very request that asks again."""
    made_then = structs.replace(asked, created=there.created, last_modified=there.last_modified)
    return asked.client_token is not None and made_then == there


# ---------------------------------------------------------------- rows


def _one(schedule: ScheduleId) -> list[sa.ColumnElement[bool]]:
    return [_AT[column] == value for column, value in schedule._asdict().items()]


async def _find(
    connection: AsyncConnection, schedule: ScheduleId, *, lock: bool = False
) -> PlannedSchedule | None:
    query = sa.select(schedules).where(*_one(schedule))
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return None if row is None else _planned(row, row.input)


async def _get(
    connection: AsyncConnection, schedule: ScheduleId, *, lock: bool = False
) -> PlannedSchedule:
    found = await _find(connection, schedule, lock=lock)
    if found is None:
        raise _not_there(schedule)
    return found


def _not_there(schedule: ScheduleId) -> PlatformError:
    return PlatformError(ErrorCode.NOT_FOUND, f"Schedule {schedule.name} does not exist.")


def _row(planned: PlannedSchedule) -> dict[str, Any]:
    schedule = planned.schedule
    config = msgspec.to_builtins(schedule)
    for column in ("id", "state"):
        del config[column]
    del config["target"]["input"]
    return {
        **schedule.id._asdict(),
        "revision": planned.revision,
        "state": schedule.state.value,
        "tick_at": planned.tick_at,
        "next_at": planned.next_at,
        "missed": planned.missed,
        "input": schedule.target.input,
        "config": config,
    }


def _planned(row: Any, target_input: str | None) -> PlannedSchedule:
    fields = {
        **row.config,
        "id": ScheduleId(row.account, row.region, row.group, row.name),
        "state": row.state,
        "target": {**row.config["target"], "input": target_input},
    }
    return PlannedSchedule(
        schedule=msgspec.convert(fields, Schedule),
        revision=row.revision,
        tick_at=row.tick_at,
        next_at=row.next_at,
        missed=row.missed,
    )
