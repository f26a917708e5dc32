"""How many instances versions have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0004"
down_revision = "v0003"

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "scale_rules",
        sa.Column("account", NAME, nullable=False),
        sa.Column("region", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("qualifier", NAME, nullable=False),
        sa.Column("last_modified", sa.DateTime(timezone=True), nullable=False),
        sa.Column("provisioned", sa.Integer),
        sa.Column("min_instances", sa.Integer),
        sa.Column("max_instances", sa.Integer),
        sa.PrimaryKeyConstraint("account", "region", "name", "qualifier", name="pk_scale_rules"),
        sa.ForeignKeyConstraint(
            ["account", "region", "name"],
            ["functions.account", "functions.region", "functions.name"],
            name="fk_scale_rules_functions",
        ),
    )
