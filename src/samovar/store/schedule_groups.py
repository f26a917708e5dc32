"""Groups of schedules in SQL: the `ScheduleGroupStore` of `schedule_stores.py`.

A group's row counts its schedules, and is locked by whoever changes that number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.schedule import GroupId, GroupState, ScheduleGroup
from samovar.ports import Page
from samovar.store.database import Database
from samovar.store.markers import read_marker, write_marker
from samovar.store.schema import schedule_groups, schedules

_AT = schedule_groups.c

MAX_GROUPS = 500
"""In an account and region: https://docs.aws.amazon.com/scheduler/latest/UserGuide/scheduler-quotas.html"""


class SqlScheduleGroupStore:
    """The `ScheduleGroupStore` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, group: ScheduleGroup) -> None:
        """See the port."""
        account, region, name = group.id
        number = sa.select(sa.func.count()).where(_AT.account == account, _AT.region == region)
        async with self._database.write() as connection:
            there = await _find(connection, group.id)
            if there is not None:
                if group.client_token and there.client_token == group.client_token:
                    return
                raise PlatformError(ErrorCode.CONFLICT, f"Schedule group {name} already exists.")
            if (await connection.scalar(number) or 0) >= MAX_GROUPS:
                raise PlatformError(
                    ErrorCode.QUOTA_EXCEEDED, f"There are {MAX_GROUPS} schedule groups already."
                )
            await connection.execute(sa.insert(schedule_groups), _row(group))

    async def ensure(self, group: ScheduleGroup) -> None:
        """See the port."""
        async with self._database.read() as connection:
            if await _find(connection, group.id) is not None:
                return
        async with self._database.write() as connection:
            await connection.execute(_add_unless_there(connection.dialect.name), _row(group))

    async def get(self, group: GroupId) -> ScheduleGroup:
        """See the port."""
        async with self._database.read() as connection:
            return await _get(connection, group)

    async def list_groups(
        self, account: str, region: str, prefix: str, *, marker: str | None, limit: int
    ) -> Page[ScheduleGroup]:
        """See the port."""
        query = sa.select(schedule_groups).where(_AT.account == account, _AT.region == region)
        if prefix:
            query = query.where(_AT.name >= prefix, _AT.name.startswith(prefix, autoescape=True))
        if marker is not None:
            (after,) = read_marker(marker, "schedule-groups", str)
            query = query.where(_AT.name > after)
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(_AT.name).limit(limit + 1))).all()
        shown = rows[:limit]
        more = write_marker("schedule-groups", shown[-1].name) if rows[limit:] else None
        return Page([_group(row) for row in shown], more)

    async def replace(
        self, group: GroupId, change: Callable[[ScheduleGroup], ScheduleGroup]
    ) -> None:
        """See the port."""
        async with self._database.write() as connection:
            row = _row(change(await _get(connection, group, lock=True)))
            await connection.execute(
                sa.update(schedule_groups)
                .where(*_one(group))
                .values(state=row["state"], config=row["config"])
            )

    async def sweep(self, limit: int) -> bool:
        """See the port."""
        dying = sa.select(schedule_groups).where(_AT.state == GroupState.DELETING.value).limit(1)
        async with self._database.read() as connection:
            if (await connection.execute(dying)).first() is None:
                return False
        async with self._database.write() as connection:
            row = (await connection.execute(dying.with_for_update())).first()
            if row is None:
                return False
            group = _group(row).id
            held = _in_group(group)
            some = sa.select(schedules.c.name).where(*held).limit(limit)
            gone = await connection.execute(
                sa.delete(schedules).where(*held, schedules.c.name.in_(some))
            )
            if gone.rowcount < limit:
                await connection.execute(sa.delete(schedule_groups).where(*_one(group)))
            else:
                await connection.execute(count_in(group, -gone.rowcount))
        return True


def count_in(group: GroupId, more: int) -> sa.Update:
    """The statement that counts schedules that come to a group, or leave it (negative)."""
    number = _AT.schedules + more
    return sa.update(schedule_groups).where(*_one(group)).values(schedules=number)


async def lock_active(connection: AsyncConnection, group: GroupId) -> None:
    """Lock a group that schedules may be added to. Raises NOT_FOUND, CONFLICT."""
    if (await _get(connection, group, lock=True)).state is GroupState.DELETING:
        raise PlatformError(ErrorCode.CONFLICT, f"Schedule group {group.name} is being deleted.")


# ---------------------------------------------------------------- rows


def _one(group: GroupId) -> list[sa.ColumnElement[bool]]:
    return [_AT.account == group.account, _AT.region == group.region, _AT.name == group.name]


def _in_group(group: GroupId) -> list[sa.ColumnElement[bool]]:
    of = schedules.c
    return [of.account == group.account, of.region == group.region, of.group == group.name]


async def _find(
    connection: AsyncConnection, group: GroupId, *, lock: bool = False
) -> ScheduleGroup | None:
    query = sa.select(schedule_groups).where(*_one(group))
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return None if row is None else _group(row)


async def _get(connection: AsyncConnection, group: GroupId, *, lock: bool = False) -> ScheduleGroup:
    found = await _find(connection, group, lock=lock)
    if found is None:
        raise PlatformError(ErrorCode.NOT_FOUND, f"Schedule group {group.name} does not exist.")
    return found


def _add_unless_there(dialect: str) -> sa.Insert:
    if dialect == "sqlite":
        return sqlite.insert(schedule_groups).on_conflict_do_nothing()
    from sqlalchemy.dialects import postgresql  # megabytes that a server on SQLite has no use for

    return postgresql.insert(schedule_groups).on_conflict_do_nothing()


def _row(group: ScheduleGroup) -> dict[str, Any]:
    config = msgspec.to_builtins(group)
    for column in ("id", "state"):
        del config[column]
    return {
        **group.id._asdict(),
        "state": group.state.value,
        "schedules": 0,
        "config": config,
    }


def _group(row: Any) -> ScheduleGroup:
    group = GroupId(row.account, row.region, row.name)
    return msgspec.convert({**row.config, "id": group, "state": row.state}, ScheduleGroup)
