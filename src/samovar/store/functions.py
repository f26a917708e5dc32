"""Functions, versions and aliases in SQL: the `FunctionStore` of `stores.py`.

Every write first locks the row of its function (`_lock`), so what it then reads, checks and
changes cannot change under it; SQLite locks the whole database instead (see `database.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import (
    LATEST,
    Alias,
    FunctionId,
    FunctionVersion,
    State,
    UpdateStatus,
)
from samovar.ports import FunctionRecord, Page, PublishBuilder
from samovar.store.database import Database
from samovar.store.markers import read_marker, write_marker
from samovar.store.qualified import forget_qualifier
from samovar.store.records import (
    alias_from,
    alias_row,
    id_from,
    key_of,
    number_of,
    version_from,
    version_row,
)
from samovar.store.schema import BY_QUALIFIER, LATEST_NUMBER, aliases, functions, versions

REVISION_MISMATCH = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
)


def _of(table: sa.Table) -> sa.ColumnElement[bool]:
    """The rows of one function: parameters as `key_of` has them."""
    return sa.and_(
        table.c.account == sa.bindparam("account"),
        table.c.region == sa.bindparam("region"),
        table.c.name == sa.bindparam("name"),
    )


_FUNCTION = sa.select(functions).where(_of(functions))
_LOCK = _FUNCTION.with_for_update()
_VERSION = sa.select(versions).where(_of(versions), versions.c.number == sa.bindparam("number"))
_NEWEST = (
    sa.select(versions)
    .where(_of(versions), versions.c.number > LATEST_NUMBER)
    .order_by(versions.c.number.desc())
    .limit(1)
)
_VERSIONS = (
    sa.select(versions)
    .where(_of(versions), versions.c.number > sa.bindparam("after"))
    .order_by(versions.c.number)
    .limit(sa.bindparam("count"))
)
_ALIAS = sa.select(aliases).where(_of(aliases), aliases.c.alias == sa.bindparam("alias"))
_ALIASES = (
    sa.select(aliases)
    .where(_of(aliases), aliases.c.alias > sa.bindparam("after"))
    .order_by(aliases.c.alias)
    .limit(sa.bindparam("count"))
)


class SqlFunctionStore:
    """The `FunctionStore` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ------------------------------------------------------------ functions and versions

    async def create(self, latest: FunctionVersion, tags: Mapping[str, str]) -> None:
        """Add a function with its `$LATEST`. CONFLICT if there is one of that name."""
        async with self._database.write() as connection:
            try:
                await connection.execute(
                    sa.insert(functions),
                    {**key_of(latest.id), "last_published": 0, "tags": dict(tags)},
                )
            except IntegrityError as error:
                raise PlatformError(
                    ErrorCode.CONFLICT, f"Function already exist: {latest.id.name}"
                ) from error
            await connection.execute(sa.insert(versions), version_row(latest))

    async def get(self, function: FunctionId, version: str) -> FunctionVersion:
        """One version. NOT_FOUND names the version too, unless it is `$LATEST`."""
        number = number_of(version)
        if number is not None:
            async with self._database.read() as connection:
                row = await _first(connection, _VERSION, **key_of(function), number=number)
            if row is not None:
                return version_from(row)
        raise _not_found(function, version)

    async def record(self, function: FunctionId) -> FunctionRecord:
        """What belongs to the function as a whole. NOT_FOUND."""
        async with self._database.read() as connection:
            row = await _first(connection, _FUNCTION, **key_of(function))
        if row is None:
            raise _not_found(function)
        return FunctionRecord(function, row.reserved_concurrency, row.tags)

    async def list_functions(
        self, account: str, region: str, *, all_versions: bool, marker: str | None, limit: int
    ) -> Page[FunctionVersion]:
        """By name; with `all_versions`, each function's in the order of `list_versions`."""
        listing = "functions-all" if all_versions else "functions"
        query = (
            sa.select(versions)
            .where(versions.c.account == account, versions.c.region == region)
            .order_by(versions.c.name, versions.c.number)
            .limit(limit + 1)
        )
        if not all_versions:
            query = query.where(versions.c.number == LATEST_NUMBER)
        if marker is not None:
            name, number = read_marker(marker, listing, str, int)
            query = query.where(
                sa.tuple_(versions.c.name, versions.c.number) > sa.tuple_(name, number)
            )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        shown = rows[:limit]
        more = write_marker(listing, shown[-1].name, shown[-1].number) if rows[limit:] else None
        return Page([version_from(row) for row in shown], more)

    async def list_versions(
        self, function: FunctionId, *, marker: str | None, limit: int
    ) -> Page[FunctionVersion]:
        """`$LATEST`, then the published ones from the oldest. NOT_FOUND."""
        after = LATEST_NUMBER - 1
        if marker is not None:
            (after,) = read_marker(marker, "versions", int)
        async with self._database.read() as connection:
            rows = await _all(
                connection, _VERSIONS, **key_of(function), after=after, count=limit + 1
            )
            if not rows and (marker is None or not await _exists(connection, function)):
                raise _not_found(function)
        shown = rows[:limit]
        more = write_marker("versions", shown[-1].number) if rows[limit:] else None
        return Page([version_from(row) for row in shown], more)

    async def replace(self, version: FunctionVersion, *, expected_revision_id: str) -> None:
        """Put `version` in place of the one of that revision. NOT_FOUND, PRECONDITION_FAILED."""
        row = version_row(version)
        async with self._database.write() as connection:
            done = await connection.execute(
                sa.update(versions)
                .where(*_same(versions, row, "account", "region", "name", "number"))
                .where(versions.c.revision_id == expected_revision_id)
                .values(row)
            )
            if done.rowcount == 0:
                at = key_of(version.id)
                if await _first(connection, _VERSION, **at, number=row["number"]) is None:
                    raise _not_found(version.id, version.version)
                raise PlatformError(ErrorCode.PRECONDITION_FAILED, REVISION_MISMATCH)

    async def publish(self, function: FunctionId, build: PublishBuilder) -> FunctionVersion:
        """Add the version that `build` makes; see the port. NOT_FOUND; what `build` raises."""
        key = key_of(function)
        async with self._database.write() as connection:
            record = await _lock(connection, function)
            latest = version_from(await _first(connection, _VERSION, **key, number=LATEST_NUMBER))
            row = await _first(connection, _NEWEST, **key)
            newest = None if row is None else version_from(row)
            number = record.last_published + 1
            published = build(latest, newest, number)
            if newest is not None and published == newest:
                return newest
            if (published.id, published.version) != (function, str(number)):
                raise ValueError(f"asked for version {number}, built {published.arn}")
            await connection.execute(sa.insert(versions), version_row(published))
            await connection.execute(
                sa.update(functions)
                .where(*_same(functions, key, *key))
                .values(last_published=number)
            )
        return published

    async def delete_function(self, function: FunctionId) -> None:
        """With its versions, aliases and reserved concurrency. NOT_FOUND."""
        key = key_of(function)
        async with self._database.write() as connection:
            await _lock(connection, function)
            for table in (*BY_QUALIFIER, aliases, versions, functions):
                await connection.execute(sa.delete(table).where(*_same(table, key, *key)))

    async def delete_version(self, function: FunctionId, version: str) -> None:
        """CONFLICT while an alias points to it. One that is not there is no error, as AWS has it;
        a function that is not there is NOT_FOUND."""
        if version == LATEST:
            raise PlatformError(
                ErrorCode.INVALID_PARAMETER,
                "$LATEST version cannot be deleted without deleting the function.",
            )
        number = number_of(version)
        key = key_of(function)
        async with self._database.write() as connection:
            await _lock(connection, function)
            if number is None:
                return
            rows = (
                await connection.execute(
                    sa.select(aliases).where(*_same(aliases, key, *key)).order_by(aliases.c.alias)
                )
            ).all()
            users = [r.alias for r in rows if number == r.number or version in r.config["routing"]]
            if users:
                raise PlatformError(
                    ErrorCode.CONFLICT,
                    "Unable to delete version because the following aliases reference it: "
                    f"[{', '.join(users)}]",
                )
            await connection.execute(
                sa.delete(versions).where(*_same(versions, key, *key), versions.c.number == number)
            )
            await forget_qualifier(connection, function, version)

    # ------------------------------------------------------------ aliases

    async def create_alias(self, alias: Alias) -> None:
        """CONFLICT if there is one of that name, NOT_FOUND if a version of it is not there."""
        async with self._database.write() as connection:
            number = await _target(connection, alias)
            try:
                await connection.execute(sa.insert(aliases), alias_row(alias, number))
            except IntegrityError as error:
                raise PlatformError(
                    ErrorCode.CONFLICT,
                    f"Alias already exists: {alias.id.qualified_arn(alias.name)}",
                ) from error

    async def get_alias(self, function: FunctionId, name: str) -> Alias:
        """One alias. NOT_FOUND."""
        async with self._database.read() as connection:
            row = await _first(connection, _ALIAS, **key_of(function), alias=name)
        if row is None:
            raise _alias_not_found(function, name)
        return alias_from(row)

    async def list_aliases(
        self, function: FunctionId, *, version: str | None, marker: str | None, limit: int
    ) -> Page[Alias]:
        """By name; with `version`, those whose main version it is. NOT_FOUND."""
        after = ""
        if marker is not None:
            (after,) = read_marker(marker, "aliases", str)
        query = _ALIASES
        if version is not None:
            number = number_of(version)
            query = query.where(aliases.c.number == (-1 if number is None else number))
        async with self._database.read() as connection:
            rows = await _all(connection, query, **key_of(function), after=after, count=limit + 1)
            if not rows and not await _exists(connection, function):
                raise _not_found(function)
        shown = rows[:limit]
        more = write_marker("aliases", shown[-1].alias) if rows[limit:] else None
        return Page([alias_from(row) for row in shown], more)

    async def replace_alias(self, alias: Alias, *, expected_revision_id: str) -> None:
        """Put `alias` in place of the one of that revision. NOT_FOUND, PRECONDITION_FAILED."""
        key = key_of(alias.id)
        async with self._database.write() as connection:
            await _lock(connection, alias.id)
            current = await _first(connection, _ALIAS, **key, alias=alias.name)
            if current is None:
                raise _alias_not_found(alias.id, alias.name)
            if current.revision_id != expected_revision_id:
                raise PlatformError(ErrorCode.PRECONDITION_FAILED, REVISION_MISMATCH)
            row = alias_row(alias, await _target(connection, alias))
            await connection.execute(
                sa.update(aliases).where(*_same(aliases, row, *key, "alias")).values(row)
            )

    async def delete_alias(self, function: FunctionId, name: str) -> None:
        """Deleting what is not there is no error."""
        key = {**key_of(function), "alias": name}
        async with self._database.write() as connection:
            await connection.execute(sa.delete(aliases).where(*_same(aliases, key, *key)))
            await forget_qualifier(connection, function, name)

    # ------------------------------------------------------------ concurrency, and start-up

    async def set_reserved_concurrency(self, function: FunctionId, limit: int | None) -> None:
        """None removes it. NOT_FOUND."""
        key = key_of(function)
        async with self._database.write() as connection:
            done = await connection.execute(
                sa.update(functions)
                .where(*_same(functions, key, *key))
                .values(reserved_concurrency=limit)
            )
            if done.rowcount == 0:
                raise _not_found(function)

    async def reserved_concurrencies(self) -> Mapping[FunctionId, int]:
        """Every function that has one."""
        query = sa.select(functions).where(functions.c.reserved_concurrency.is_not(None))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return {id_from(row): row.reserved_concurrency for row in rows}

    async def pending(self) -> Sequence[FunctionVersion]:
        """Versions that were being prepared or updated when the platform stopped."""
        query = sa.select(versions).where(
            sa.or_(
                versions.c.state == State.PENDING.value,
                versions.c.last_update_status == UpdateStatus.IN_PROGRESS.value,
            )
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [version_from(row) for row in rows]

    async def runtimes_in_use(self) -> frozenset[str]:
        """The runtimes of every version."""
        async with self._database.read() as connection:
            found = await connection.scalars(
                sa.select(versions.c.config["runtime"].as_string()).distinct()
            )
            return frozenset(found)

    async def code_in_use(self) -> frozenset[str]:
        """sha256 (hex) of every package that a version refers to, as its code or as a layer."""
        layers = versions.c.config["layers"]
        async with self._database.read() as connection:
            code = await connection.scalars(sa.select(versions.c.code_sha256).distinct())
            lists = await connection.scalars(
                sa.select(layers.as_json()).where(layers.as_string() != "[]")
            )
            attached = [layer["code"]["sha256_hex"] for found in lists for layer in found]
            return frozenset([*code, *attached])


async def _first(connection: AsyncConnection, query: sa.Select[Any], **values: Any) -> Any:
    return (await connection.execute(query, values)).first()


async def _all(
    connection: AsyncConnection, query: sa.Select[Any], **values: Any
) -> Sequence[sa.Row[Any]]:
    rows: Sequence[sa.Row[Any]] = (await connection.execute(query, values)).all()
    return rows


def _same(table: sa.Table, row: Mapping[str, Any], *columns: str) -> list[sa.ColumnElement[bool]]:
    return [table.c[column] == row[column] for column in columns]


async def _exists(connection: AsyncConnection, function: FunctionId) -> bool:
    return await _first(connection, _FUNCTION, **key_of(function)) is not None


async def _lock(connection: AsyncConnection, function: FunctionId) -> Any:
    """The function's row, locked until the transaction ends. NOT_FOUND."""
    row = await _first(connection, _LOCK, **key_of(function))
    if row is None:
        raise _not_found(function)
    return row


async def _target(connection: AsyncConnection, alias: Alias) -> int:
    """The number of the alias's main version. NOT_FOUND if it or one of the routing is missing."""
    key = key_of(alias.id)
    await _first(connection, _LOCK, **key)
    for version in (alias.version, *alias.routing):
        number = number_of(version)
        if number is None or await _first(connection, _VERSION, **key, number=number) is None:
            raise _not_found(alias.id, version)
    main = number_of(alias.version)
    assert main is not None
    return main


def _not_found(function: FunctionId, version: str = LATEST) -> PlatformError:
    arn = function.arn if version == LATEST else function.qualified_arn(version)
    return PlatformError(ErrorCode.NOT_FOUND, f"Function not found: {arn}")


def _alias_not_found(function: FunctionId, name: str) -> PlatformError:
    arn = function.qualified_arn(name)
    return PlatformError(ErrorCode.NOT_FOUND, f"Cannot find alias arn: {arn}")
