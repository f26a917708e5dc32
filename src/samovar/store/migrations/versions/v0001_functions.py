"""Functions, their versions and aliases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "functions",
        sa.Column("account", NAME, nullable=False),
        sa.Column("region", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("last_published", sa.Integer, nullable=False),
        sa.Column("reserved_concurrency", sa.Integer),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "name", name="pk_functions"),
    )
    op.create_table(
        "versions",
        sa.Column("account", NAME, nullable=False),
        sa.Column("region", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("revision_id", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("last_update_status", sa.Text, nullable=False),
        sa.Column("code_sha256", sa.Text, nullable=False),
        sa.Column("last_modified", sa.DateTime(timezone=True), nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "name", "number", name="pk_versions"),
        sa.ForeignKeyConstraint(
            ["account", "region", "name"],
            ["functions.account", "functions.region", "functions.name"],
            name="fk_versions_functions",
        ),
    )
    op.create_index("ix_versions_code_sha256", "versions", ["code_sha256"])
    op.create_table(
        "aliases",
        sa.Column("account", NAME, nullable=False),
        sa.Column("region", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("alias", NAME, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("revision_id", sa.Text, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "name", "alias", name="pk_aliases"),
        sa.ForeignKeyConstraint(
            ["account", "region", "name", "number"],
            ["versions.account", "versions.region", "versions.name", "versions.number"],
            name="fk_aliases_versions",
        ),
    )
