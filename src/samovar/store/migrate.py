"""Bringing a database to the schema of this program.

Alembic takes 0.2 s to import and is needed once in a release, so it is loaded only when the
database's revision is not the newest file in `migrations/versions`.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from samovar.model.errors import ErrorCode, PlatformError

MIGRATIONS = Path(__file__).parent / "migrations"


def revisions() -> list[str]:
    """Every revision, oldest first: `v0001` of `v0001_functions.py`."""
    return sorted(path.stem.partition("_")[0] for path in (MIGRATIONS / "versions").glob("v*.py"))


def current_revision(connection: sa.Connection) -> str | None:
    """The revision that the database is at; None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision


def check_revision(connection: sa.Connection) -> bool:
    """Whether the database is at the newest revision.

    Raises `PlatformError` SERVICE when it is at one that this program does not know.
    """
    known, current = revisions(), current_revision(connection)
    if current is not None and current not in known:
        raise PlatformError(
            ErrorCode.SERVICE,
            f"the database is at revision {current}, and this version of Samovar knows none newer "
            f"than {known[-1]}: start the version that wrote it, or restore a backup",
        )
    return current == known[-1]


def migrate(connection: sa.Connection) -> None:
    """Bring the database to the newest revision, inside the caller's transaction: a migration
    that is cut short leaves nothing behind."""
    if check_revision(connection):  # another process was faster
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
