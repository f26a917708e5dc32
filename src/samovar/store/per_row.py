"""A statement that is executed for many rows, and tells which of them it hit.

It goes to the database's driver as it is: what SQLAlchemy does for the parameters of each row costs
more than the row itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

Row = tuple[Any, ...]


class PerRow:
    """A statement with `?` for each of a row's values, and nowhere else."""

    def __init__(self, statement: str) -> None:
        self._for_sqlite = statement
        self._for_psycopg = statement.replace("?", "%s")

    def hits(self, connection: sa.Connection, rows: Sequence[Row]) -> list[bool]:
        """Execute it for each row, and return which of them it hit. All at once where it hits every
        one, which is as good as always."""
        alone = connection.dialect.name == "sqlite"
        statement = self._for_sqlite if alone else self._for_psycopg
        if len(rows) > 1:
            connection.exec_driver_sql("SAVEPOINT per_row")
            hit = connection.exec_driver_sql(statement, list(rows)).rowcount
            if hit != len(rows):
                connection.exec_driver_sql("ROLLBACK TO SAVEPOINT per_row")
            connection.exec_driver_sql("RELEASE SAVEPOINT per_row")
            if hit == len(rows):
                return [True] * hit
        return [connection.exec_driver_sql(statement, row).rowcount == 1 for row in rows]
