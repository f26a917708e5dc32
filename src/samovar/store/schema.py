"""The tables. A migration in `migrations/versions` makes each of them; a test compares the two.

What a query selects or orders by is a column of its own; the rest of a version or alias is one
JSON document in `config`, so that a new setting of a function needs no migration.

`number` is a version as an integer: 0 is `$LATEST`, so ordering by it is AWS's order.
"""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

LATEST_NUMBER = 0

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Names sort by code point everywhere, whatever the database's locale: SQLite does so anyway."""


class UtcDateTime(sa.TypeDecorator[dt.datetime]):
    """An instant: always aware and in UTC, also where the database (SQLite) drops the offset."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Refuse a naive time: which instant it means is anybody's guess."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime cannot be stored")
        value = value.astimezone(dt.UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(
        self, value: dt.datetime | None, dialect: Dialect
    ) -> dt.datetime | None:
        """The instant, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


functions = sa.Table(
    "functions",
    metadata,
    sa.Column("account", NAME, primary_key=True),
    sa.Column("region", NAME, primary_key=True),
    sa.Column("name", NAME, primary_key=True),
    sa.Column("last_published", sa.Integer, nullable=False),  # survives the version's deletion
    sa.Column("reserved_concurrency", sa.Integer),
    sa.Column("tags", sa.JSON, nullable=False),
)

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("account", NAME, primary_key=True),
    sa.Column("region", NAME, primary_key=True),
    sa.Column("name", NAME, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("revision_id", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("last_update_status", sa.Text, nullable=False),
    sa.Column("code_sha256", sa.Text, nullable=False, index=True),
    sa.Column("last_modified", UtcDateTime, nullable=False),
    sa.Column("config", sa.JSON, nullable=False),
    sa.ForeignKeyConstraint(
        ["account", "region", "name"],
        ["functions.account", "functions.region", "functions.name"],
    ),
)

aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("account", NAME, primary_key=True),
    sa.Column("region", NAME, primary_key=True),
    sa.Column("name", NAME, primary_key=True),
    sa.Column("alias", NAME, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("revision_id", sa.Text, nullable=False),
    sa.Column("config", sa.JSON, nullable=False),
    sa.ForeignKeyConstraint(
        ["account", "region", "name", "number"],
        ["versions.account", "versions.region", "versions.name", "versions.number"],
    ),
)

layers = sa.Table(
    "layers",
    metadata,
    sa.Column("account", NAME, primary_key=True),
    sa.Column("region", NAME, primary_key=True),
    sa.Column("name", NAME, primary_key=True),
    sa.Column("last_published", sa.Integer, nullable=False),  # survives the version's deletion
)

layer_versions = sa.Table(
    "layer_versions",
    metadata,
    sa.Column("account", NAME, primary_key=True),
    sa.Column("region", NAME, primary_key=True),
    sa.Column("name", NAME, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("created", UtcDateTime, nullable=False),
    sa.Column("code_sha256", sa.Text, nullable=False, index=True),
    sa.Column("runtimes", sa.Text, nullable=False),
    sa.Column("architectures", sa.Text, nullable=False),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("policy", sa.JSON(none_as_null=True)),
    sa.ForeignKeyConstraint(
        ["account", "region", "name"],
        ["layers.account", "layers.region", "layers.name"],
    ),
)
