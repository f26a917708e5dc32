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
    sa.Column("loops_allowed", sa.Boolean),
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

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("queue", NAME, nullable=False),
    sa.Column("target", NAME, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("accepted_at", sa.Double, nullable=False),
    sa.Column("due_at", sa.Double),  # null: it is dead
    sa.Column("died_at", sa.Double),
    sa.Column("holder", sa.Text),  # null: it may be taken
    sa.Column("details", sa.Text, nullable=False),  # JSON; see event_rows.py
    # The last: what is looked at beside it would be read past it.
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Index("ix_events_holder", "holder", "queue", "due_at"),
    sa.Index(
        "ix_events_died_at",
        "died_at",
        # On PostgreSQL, too (v0003): to say so here loads its dialect wherever there is none.
        sqlite_where=sa.text("died_at IS NOT NULL"),
    ),
)

event_queues = sa.Table(
    "event_queues",
    metadata,
    sa.Column("queue", NAME, primary_key=True),
    sa.Column("events", sa.BigInteger, nullable=False),  # without the dead
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("dead", sa.BigInteger, nullable=False),
    sa.Column("dead_bytes", sa.BigInteger, nullable=False),
)

event_holders = sa.Table(
    "event_holders",
    metadata,
    sa.Column("holder", sa.Text, primary_key=True),
    sa.Column("deadline", sa.Double, nullable=False),
)

event_invoke_configs = sa.Table(
    "event_invoke_configs",
    metadata,
    sa.Column("account", NAME, primary_key=True),
    sa.Column("region", NAME, primary_key=True),
    sa.Column("name", NAME, primary_key=True),
    sa.Column("qualifier", NAME, primary_key=True),
    sa.Column("last_modified", UtcDateTime, nullable=False),
    sa.Column("config", sa.JSON, nullable=False),
    sa.ForeignKeyConstraint(
        ["account", "region", "name"],
        ["functions.account", "functions.region", "functions.name"],
    ),
)

scale_rules = sa.Table(
    "scale_rules",
    metadata,
    sa.Column("account", NAME, primary_key=True),
    sa.Column("region", NAME, primary_key=True),
    sa.Column("name", NAME, primary_key=True),
    sa.Column("qualifier", NAME, primary_key=True),
    sa.Column("last_modified", UtcDateTime, nullable=False),
    sa.Column("provisioned", sa.Integer),
    sa.Column("min_instances", sa.Integer),
    sa.Column("max_instances", sa.Integer),
    sa.ForeignKeyConstraint(
        ["account", "region", "name"],
        ["functions.account", "functions.region", "functions.name"],
    ),
)

BY_QUALIFIER = (event_invoke_configs, scale_rules)
"""What ends with the version or the alias that its `qualifier` names."""

event_sources = sa.Table(
    "event_sources",
    metadata,
    sa.Column("uuid", sa.Text, primary_key=True),
    sa.Column("account", NAME, nullable=False),
    sa.Column("region", NAME, nullable=False),
    sa.Column("name", NAME, nullable=False),
    sa.Column("qualifier", NAME),
    sa.Column("source_arn", NAME),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("last_modified", UtcDateTime, nullable=False),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Index("ix_event_sources_account", "account", "region", "name"),
)

event_source_positions = sa.Table(
    "event_source_positions",
    metadata,
    sa.Column("uuid", sa.Text, primary_key=True),
    sa.Column("shard", NAME, primary_key=True),
    sa.Column("position", sa.JSON, nullable=False),
    sa.ForeignKeyConstraint(["uuid"], ["event_sources.uuid"], ondelete="CASCADE"),
)

schedule_groups = sa.Table(
    "schedule_groups",
    metadata,
    sa.Column("account", NAME, primary_key=True),
    sa.Column("region", NAME, primary_key=True),
    sa.Column("name", NAME, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("schedules", sa.Integer, nullable=False),  # how many it holds
    sa.Column("config", sa.JSON, nullable=False),
)

schedules = sa.Table(
    "schedules",
    metadata,
    sa.Column("account", NAME, primary_key=True),
    sa.Column("region", NAME, primary_key=True),
    sa.Column("group", NAME, primary_key=True),
    sa.Column("name", NAME, primary_key=True),
    sa.Column("revision", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("tick_at", sa.Double),
    sa.Column("next_at", sa.Double),  # when it fires for that tick; null: it will not fire again
    sa.Column("missed", sa.BigInteger, nullable=False),
    sa.Column("input", sa.Text),  # its target's: large, so listings leave it out
    sa.Column("config", sa.JSON, nullable=False),
    sa.ForeignKeyConstraint(
        ["account", "region", "group"],
        ["schedule_groups.account", "schedule_groups.region", "schedule_groups.name"],
    ),
    sa.Index("ix_schedules_next_at", "next_at"),
)
