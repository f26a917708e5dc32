"""Rows that belong to a function, or to one of its qualifiers: a version or an alias.

As in `functions.py`, every write of theirs first locks the row of the function.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST, FunctionId
from samovar.store.records import key_of, number_of
from samovar.store.schema import BY_QUALIFIER, aliases, functions, versions


def of(table: sa.Table, function: FunctionId) -> sa.ColumnElement[bool]:
    """The rows of one function."""
    return sa.and_(*(table.c[column] == value for column, value in key_of(function).items()))


async def row_of(connection: AsyncConnection, function: FunctionId) -> Any:
    """The function's own row. NOT_FOUND."""
    return await _one(connection, sa.select(functions).where(of(functions, function)), function.arn)


async def lock(connection: AsyncConnection, function: FunctionId) -> Any:
    """The same, locked until the transaction ends. NOT_FOUND."""
    locked = sa.select(functions).where(of(functions, function)).with_for_update()
    return await _one(connection, locked, function.arn)


async def check_qualifier(
    connection: AsyncConnection, function: FunctionId, qualifier: str
) -> None:
    """NOT_FOUND where there is no such version or alias. An alias stays till we are done."""
    if qualifier == LATEST:
        return
    number = number_of(qualifier)
    if number is not None:
        query = sa.select(versions).where(of(versions, function), versions.c.number == number)
    else:
        query = sa.select(aliases).where(of(aliases, function), aliases.c.alias == qualifier)
    await _one(connection, query.with_for_update(), function.qualified_arn(qualifier))


async def delete_of(
    connection: AsyncConnection, table: sa.Table, function: FunctionId, qualifier: str
) -> int:
    """Delete the row of a qualifier; return how many there were."""
    done = await connection.execute(
        sa.delete(table).where(of(table, function), table.c.qualifier == qualifier)
    )
    return done.rowcount


async def forget_qualifier(
    connection: AsyncConnection, function: FunctionId, qualifier: str
) -> None:
    """Delete all that belongs to a version or an alias, in the transaction that deletes that."""
    for table in BY_QUALIFIER:
        await delete_of(connection, table, function, qualifier)


async def _one(connection: AsyncConnection, query: sa.Select[Any], arn: str) -> Any:
    row = (await connection.execute(query)).first()
    if row is None:
        raise PlatformError(ErrorCode.NOT_FOUND, f"Function not found: {arn}")
    return row
