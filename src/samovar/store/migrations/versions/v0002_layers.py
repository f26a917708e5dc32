"""Layers and their versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"

NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "layers",
        sa.Column("account", NAME, nullable=False),
        sa.Column("region", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("last_published", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("account", "region", "name", name="pk_layers"),
    )
    op.create_table(
        "layer_versions",
        sa.Column("account", NAME, nullable=False),
        sa.Column("region", NAME, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("code_sha256", sa.Text, nullable=False),
        sa.Column("runtimes", sa.Text, nullable=False),
        sa.Column("architectures", sa.Text, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("policy", sa.JSON),
        sa.PrimaryKeyConstraint("account", "region", "name", "number", name="pk_layer_versions"),
        sa.ForeignKeyConstraint(
            ["account", "region", "name"],
            ["layers.account", "layers.region", "layers.name"],
            name="fk_layer_versions_layers",
        ),
    )
    op.create_index("ix_layer_versions_code_sha256", "layer_versions", ["code_sha256"])
