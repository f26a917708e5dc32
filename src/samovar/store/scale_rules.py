"""Rules of how many instances versions have, in SQL: `ScaleStore` of `scale_stores.py`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from samovar.model.function import FunctionId, FunctionVersion
from samovar.model.scale import ScaleRule
from samovar.scale_stores import Scales
from samovar.store.database import Database
from samovar.store.markers import read_marker, write_marker
from samovar.store.qualified import check_qualifier, delete_of, lock, of, row_of
from samovar.store.records import alias_from, id_from, key_of, number_of, version_from
from samovar.store.schema import aliases, scale_rules, versions
from samovar.stores import Page

_LISTING = "provisioned"
_OF_PROVIDER = "versions-of-provider"
_KEY = (versions.c.account, versions.c.region, versions.c.name, versions.c.number)


class SqlScaleStore:
    """The `ScaleStore` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, function: FunctionId, qualifier: str) -> ScaleRule | None:
        """One rule; None: there is none, or no such function, version or alias."""
        query = sa.select(scale_rules).where(
            of(scale_rules, function), scale_rules.c.qualifier == qualifier
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else _rule(row)

    async def scales(self, function: FunctionId) -> Scales:
        """What was asked for of one function. Whoever needs it to be consistent sees that nothing
        of that function is changed meanwhile."""
        async with self._database.read() as connection:
            query = sa.select(scale_rules).where(of(scale_rules, function))
            rules = [_rule(row) for row in (await connection.execute(query)).all()]
            if not rules:
                return Scales()
            names = [rule.qualifier for rule in rules if number_of(rule.qualifier) is None]
            query = sa.select(aliases).where(of(aliases, function), aliases.c.alias.in_(names))
            found = [alias_from(row) for row in (await connection.execute(query)).all()]
            wanted = {number_of(rule.qualifier) for rule in rules}
            for alias in found:
                wanted.update(number_of(version) for version in (alias.version, *alias.routing))
            numbers = [number for number in wanted if number is not None]
            query = sa.select(versions).where(
                of(versions, function), versions.c.number.in_(numbers)
            )
            rows = (await connection.execute(query)).all()
        return Scales(rules, found, [version_from(row) for row in rows])

    async def put(self, rule: ScaleRule) -> None:
        """In place of the one of that qualifier. NOT_FOUND."""
        async with self._database.write() as connection:
            await lock(connection, rule.function)
            await check_qualifier(connection, rule.function, rule.qualifier)
            await delete_of(connection, scale_rules, rule.function, rule.qualifier)
            await connection.execute(sa.insert(scale_rules), _row(rule))

    async def delete(self, function: FunctionId, qualifier: str) -> bool:
        """Whether there was one. NOT_FOUND."""
        async with self._database.write() as connection:
            await lock(connection, function)
            await check_qualifier(connection, function, qualifier)
            return await delete_of(connection, scale_rules, function, qualifier) > 0

    async def list_provisioned(
        self, function: FunctionId, *, marker: str | None, limit: int
    ) -> Page[ScaleRule]:
        """Those that provision, by qualifier. NOT_FOUND."""
        query = sa.select(scale_rules).where(
            of(scale_rules, function), scale_rules.c.provisioned.is_not(None)
        )
        if marker is not None:
            (after,) = read_marker(marker, _LISTING, str)
            query = query.where(scale_rules.c.qualifier > after)
        query = query.order_by(scale_rules.c.qualifier).limit(limit + 1)
        async with self._database.read() as connection:
            await row_of(connection, function)
            rows = (await connection.execute(query)).all()
        shown = rows[:limit]
        more = write_marker(_LISTING, shown[-1].qualifier) if rows[limit:] else None
        return Page([_rule(row) for row in shown], more)

    async def functions(self) -> Sequence[FunctionId]:
        """Everybody who has a rule."""
        columns = [scale_rules.c[name] for name in ("account", "region", "name")]
        async with self._database.read() as connection:
            rows = (await connection.execute(sa.select(*columns).distinct())).all()
        return [id_from(row) for row in rows]

    async def provisioned(self) -> Mapping[FunctionId, int]:
        """How much each of all functions has provisioned, all in all."""
        columns = [scale_rules.c[name] for name in ("account", "region", "name")]
        total = sa.func.sum(scale_rules.c.provisioned).label("total")
        query = sa.select(*columns, total).where(scale_rules.c.provisioned.is_not(None))
        async with self._database.read() as connection:
            rows = (await connection.execute(query.group_by(*columns))).all()
        return {id_from(row): int(row.total) for row in rows}

    async def list_versions_of(
        self, capacity_provider_arn: str, *, marker: str | None, limit: int
    ) -> Page[FunctionVersion]:
        """The versions that have this capacity provider, by name and number."""
        provider = versions.c.config[("capacity_provider", "arn")].as_string()
        query = sa.select(versions).where(provider == capacity_provider_arn)
        if marker is not None:
            after = read_marker(marker, _OF_PROVIDER, str, str, str, int)
            query = query.where(sa.tuple_(*_KEY) > sa.tuple_(*after))
        query = query.order_by(*_KEY).limit(limit + 1)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        shown = rows[:limit]
        more = write_marker(_OF_PROVIDER, *shown[-1][:4]) if rows[limit:] else None
        return Page([version_from(row) for row in shown], more)


def _row(rule: ScaleRule) -> dict[str, Any]:
    settings = dataclasses.asdict(rule)
    del settings["function"]
    return {**key_of(rule.function), **settings}


def _rule(row: Any) -> ScaleRule:
    return ScaleRule(
        id_from(row),
        row.qualifier,
        row.last_modified,
        row.provisioned,
        row.min_instances,
        row.max_instances,
    )
