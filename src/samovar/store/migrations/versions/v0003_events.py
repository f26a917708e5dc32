"""Events, their configuration, event sources and schedules."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0003"
down_revision = "v0002"

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.add_column("functions", sa.Column("loops_allowed", sa.Boolean))
    _events()
    _event_sources()
    _schedules()


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("target", NAME, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("accepted_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double),
        sa.Column("died_at", sa.Double),
        sa.Column("holder", sa.Text),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_holder", "events", ["holder", "queue", "due_at"])
    op.create_index(
        "ix_events_died_at",
        "events",
        ["died_at"],
        sqlite_where=sa.text("died_at IS NOT NULL"),
        postgresql_where=sa.text("died_at IS NOT NULL"),
    )
    op.create_table(
        "event_queues",
        sa.Column("queue", NAME, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("dead", sa.BigInteger, nullable=False),
        sa.Column("dead_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("queue", name="pk_event_queues"),
    )
    op.create_table(
        "event_holders",
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("deadline", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("holder", name="pk_event_holders"),
    )
    op.create_table(
        "event_invoke_configs",
        sa.Column("account", NAME, nullable=False),
        sa.Column("region", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("qualifier", NAME, nullable=False),
        sa.Column("last_modified", sa.DateTime(timezone=True), nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint(
            "account", "region", "name", "qualifier", name="pk_event_invoke_configs"
        ),
        sa.ForeignKeyConstraint(
            ["account", "region", "name"],
            ["functions.account", "functions.region", "functions.name"],
            name="fk_event_invoke_configs_functions",
        ),
    )


def _event_sources() -> None:
    op.create_table(
        "event_sources",
        sa.Column("uuid", sa.Text, nullable=False),
        sa.Column("account", NAME, nullable=False),
        sa.Column("region", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("qualifier", NAME),
        sa.Column("source_arn", NAME),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("last_modified", sa.DateTime(timezone=True), nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("uuid", name="pk_event_sources"),
    )
    op.create_index("ix_event_sources_account", "event_sources", ["account", "region", "name"])
    op.create_table(
        "event_source_positions",
        sa.Column("uuid", sa.Text, nullable=False),
        sa.Column("shard", NAME, nullable=False),
        sa.Column("position", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("uuid", "shard", name="pk_event_source_positions"),
        sa.ForeignKeyConstraint(
            ["uuid"],
            ["event_sources.uuid"],
            name="fk_event_source_positions_event_sources",
            ondelete="CASCADE",
        ),
    )


def _schedules() -> None:
    op.create_table(
        "schedule_groups",
        sa.Column("account", NAME, nullable=False),
        sa.Column("region", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("schedules", sa.Integer, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "name", name="pk_schedule_groups"),
    )
    op.create_table(
        "schedules",
        sa.Column("account", NAME, nullable=False),
        sa.Column("region", NAME, nullable=False),
        sa.Column("group", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("tick_at", sa.Double),
        sa.Column("next_at", sa.Double),
        sa.Column("missed", sa.BigInteger, nullable=False),
        sa.Column("input", sa.Text),
        sa.Column("config", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "group", "name", name="pk_schedules"),
        sa.ForeignKeyConstraint(
            ["account", "region", "group"],
            ["schedule_groups.account", "schedule_groups.region", "schedule_groups.name"],
            name="fk_schedules_schedule_groups",
        ),
    )
    op.create_index("ix_schedules_next_at", "schedules", ["next_at"])
