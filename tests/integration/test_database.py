"""The SQLite database: its schema, its files, and what a kill leaves of it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST
from samovar.store.database import Database
from samovar.store.functions import SqlFunctionStore
from samovar.store.migrate import MIGRATIONS, revisions
from samovar.store.objects import ObjectCodeStore
from samovar.store.schema import metadata
from tests.contract.samples import ACCOUNT, REGION, a_version, function_id


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "state.db"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = await Database.open(url)
    yield database
    await database.close()


def in_file(file: Path, statement: str) -> list[Sequence[object]]:
    """Run a statement behind the platform's back."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


def write_nonsense(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b"not a database, but a text that is long enough to be one" * 100)


# ---------------------------------------------------------------- schema


async def test_the_migrations_make_the_schema_and_nothing_else(database: Database) -> None:
    def differences(connection: sa.Connection) -> object:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, metadata)

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_foreign_keys_of_the_schema_are_those_of_the_migrations(database: Database) -> None:
    def foreign_keys(connection: sa.Connection) -> set[tuple[str, str, tuple[str, ...]]]:
        return {
            (table, key["referred_table"], tuple(key["constrained_columns"]))
            for table in metadata.tables
            for key in sa.inspect(connection).get_foreign_keys(table)
        }

    wanted = {
        (table.name, key.referred_table.name, tuple(key.column_keys))
        for table in metadata.tables.values()
        for key in table.foreign_key_constraints
    }
    async with database.read() as connection:
        assert await connection.run_sync(foreign_keys) == wanted


def test_revisions_are_named_by_their_files_in_one_line() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert [script.revision for script in scripts.walk_revisions()][::-1] == revisions()
    assert scripts.get_current_head() == revisions()[-1]


def test_a_start_on_a_current_schema_does_not_load_alembic(url: str) -> None:
    program = (
        "import asyncio, sys; from samovar.store.database import Database\n"
        "async def run(): await (await Database.open(sys.argv[1])).close()\n"
        "asyncio.run(run()); print('alembic' in sys.modules)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program, url], check=True, capture_output=True, text=True
        ).stdout.strip()
        for _ in range(2)
    ]
    assert runs == ["True", "False"]


async def test_a_database_of_a_newer_release_is_left_alone(url: str, file: Path) -> None:
    await (await Database.open(url)).close()
    in_file(file, "UPDATE alembic_version SET version_num = 'v9999'")
    with pytest.raises(PlatformError, match="v9999"):
        await Database.open(url)
    assert in_file(file, "SELECT version_num FROM alembic_version") == [("v9999",)]


async def test_two_processes_that_start_at_once_migrate_once(url: str) -> None:
    opened = await asyncio.gather(*(Database.open(url) for _ in range(3)))
    for database in opened:
        await database.close()


async def test_a_migration_that_fails_leaves_nothing(url: str, file: Path) -> None:
    await (await Database.open(url)).close()
    for table in reversed(metadata.sorted_tables):
        if table.name != "functions":
            in_file(file, f'DROP TABLE "{table.name}"')
    in_file(file, "DELETE FROM alembic_version")
    with pytest.raises(PlatformError, match="functions already exists"):
        await Database.open(url)
    names = {name for (name,) in in_file(file, "SELECT name FROM sqlite_master WHERE type='table'")}
    assert names == {"functions", "alembic_version"}


async def test_a_version_from_before_there_were_layers_has_none(
    database: Database, file: Path
) -> None:
    store = SqlFunctionStore(database)
    await store.create(a_version(), {})
    older = "json_remove(config, '$.layers', '$.code.unpacked_bytes')"
    in_file(file, f"UPDATE versions SET config = {older}")
    found = await store.get(function_id(), LATEST)
    assert (found.layers, found.code.unpacked_bytes) == ((), 0)
    assert await store.code_in_use() == {found.code.sha256_hex}


# ---------------------------------------------------------------- files


async def test_only_the_platforms_user_may_read_the_files(database: Database, file: Path) -> None:
    await SqlFunctionStore(database).create(a_version(), {})
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in sorted(file.parent.glob("*"))}
    assert modes == {"state.db": 0o600, "state.db-shm": 0o600, "state.db-wal": 0o600}


async def test_commits_are_synced(database: Database) -> None:
    async with database.write() as connection:
        found = [
            await connection.scalar(sa.text(f"PRAGMA {pragma}"))
            for pragma in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert found == ["wal", 2, 1]


async def test_closing_ends_every_thread_of_it(url: str) -> None:
    before = set(threading.enumerate())
    database = await Database.open(url)
    store = SqlFunctionStore(database)
    await store.create(a_version(), {})
    await asyncio.gather(*(store.get(function_id(), LATEST) for _ in range(20)))
    await database.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=20)
    assert set(threading.enumerate()) <= before


async def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    file = tmp_path / "what? 100%41 #1" / "state.db"
    await (await Database.open(file)).close()
    assert in_file(file, "SELECT version_num FROM alembic_version") == [(revisions()[-1],)]


async def test_what_is_no_database_is_refused_in_one_sentence(url: str, file: Path) -> None:
    write_nonsense(file)
    with pytest.raises(PlatformError, match="the database failed: file is not a database"):
        await Database.open(url)


async def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="name a file"):
        await Database.open("sqlite+aiosqlite://")


# ---------------------------------------------------------------- faults


async def test_a_write_waits_for_another_process_and_gives_up_at_its_bound(
    url: str, file: Path
) -> None:
    database = await Database.open(url, write_wait_s=0.1)
    store = SqlFunctionStore(database)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(PlatformError) as refused:
            await store.create(a_version(), {})
        other.execute("ROLLBACK")
    assert refused.value.code is ErrorCode.UNAVAILABLE
    await store.create(a_version(), {})
    await database.close()


async def test_a_cancelled_write_happens_wholly_or_not_at_all(url: str, file: Path) -> None:
    database = await Database.open(url)
    store = SqlFunctionStore(database)
    moment = random.Random(7)
    for number in range(40):
        task = asyncio.create_task(store.create(a_version(function_id(f"f{number}")), {}))
        for _ in range(moment.randrange(40)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await store.create(a_version(function_id("last")), {})
    await database.close()
    functions = in_file(file, "SELECT name FROM functions ORDER BY name")
    assert functions == in_file(file, "SELECT name FROM versions ORDER BY name")
    assert ("last",) in functions


WRITER = """
import asyncio, sys
from samovar.store.database import Database
from samovar.store.functions import SqlFunctionStore
from samovar.store.objects import ObjectCodeStore
from tests.contract.samples import a_version, function_id

async def run(url, objects):
    store = SqlFunctionStore(await Database.open(url))
    code = ObjectCodeStore.open(objects)
    async def create(worker):
        for number in range(100000):
            name = f"f{worker}-{number}"
            package = await code.put(name.encode() * 1000)
            await store.create(a_version(function_id(name), code=package), {})
            print(name, flush=True)
    await asyncio.gather(*map(create, range(3)))

asyncio.run(run(*sys.argv[1:]))
"""


@pytest.mark.parametrize("acknowledged_before_the_kill", [1, 10, 60])
async def test_what_was_acknowledged_is_there_after_a_kill(
    acknowledged_before_the_kill: int, url: str, tmp_path: Path
) -> None:
    names = await asyncio.to_thread(
        killed_after, acknowledged_before_the_kill, url, str(tmp_path / "objects")
    )
    assert len(names) >= acknowledged_before_the_kill
    database = await Database.open(url)
    store, code = SqlFunctionStore(database), ObjectCodeStore.open(tmp_path / "objects")
    for name in names:
        version = await store.get(function_id(name), LATEST)
        assert await code.get(version.code.sha256_hex) == name.encode() * 1000
    page = await store.list_functions(
        ACCOUNT, REGION, all_versions=False, marker=None, limit=100_000
    )
    assert len(page.items) - len(names) <= 3  # committed, and killed before it could say so
    await store.create(a_version(function_id("after")), {})
    await database.close()


def killed_after(count: int, url: str, objects: str) -> list[str]:
    """Run `WRITER`, kill it when it has acknowledged so many; return all that it has."""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url, objects],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    ) as writer:
        assert writer.stdout is not None
        names = [writer.stdout.readline().strip() for _ in range(count)]
        os.kill(writer.pid, signal.SIGKILL)
        # A last line may be cut short: then it was not acknowledged.
        names += [line.strip() for line in writer.stdout if line.endswith("\n")]
    assert writer.returncode == -signal.SIGKILL
    return names
