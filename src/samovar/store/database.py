"""The SQL database: how the platform reads and writes it.

How this works. Reads take any pooled connection and see the last committed state. Writes go one
at a time, each in a transaction that takes SQLite's write lock as it begins (BEGIN IMMEDIATE), so
it never finds half-way that another has overtaken it (SQLITE_BUSY_SNAPSHOT, which no waiting
cures). On PostgreSQL neither is needed: rows are locked with FOR UPDATE, which SQLite ignores.
Who writes often hands over a whole transaction as a function (`transact`): on SQLite it runs in a
thread of its own, which costs one change of threads and not one a statement.

Durability. WAL with synchronous=FULL syncs the log at each commit: what was acknowledged
survives a power cut, not only a kill. WAL's default, NORMAL, syncs at checkpoints alone and would
lose the last commits. A sync costs milliseconds, but only deploying a function and accepting an
asynchronous event write; a synchronous invocation never does (invariant 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from samovar.model.errors import ErrorCode, PlatformError
from samovar.store.migrate import check_revision, migrate

CONNECTIONS = 4
"""Each connection to SQLite is a thread."""

POOL_WAIT_S = 10.0
"""How long a read may wait for a connection."""

WRITE_WAIT_S = 10.0
"""How long a write may wait for the writes before it, in this process and in others."""

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")

Result = TypeVar("Result")
Heard = Callable[[str], None]

_WRITES = "samovar_writes"
"""Execution option: transactions of this connection write."""


class Database:
    """An open database, at the newest schema."""

    def __init__(
        self, engine: AsyncEngine, write_wait_s: float, in_thread: sa.Engine | None
    ) -> None:
        self._reader = engine
        self._writer = engine.execution_options(**{_WRITES: True})
        self._in_thread = in_thread
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._write_turn = asyncio.Lock()
        self._write_wait_s = write_wait_s

    @classmethod
    async def open(cls, where: str | Path, *, write_wait_s: float = WRITE_WAIT_S) -> Database:
        """Open and migrate a database: SQLite's file, made if it is not there, or any URL.

        Raises `PlatformError` SERVICE if a newer Samovar wrote it or it cannot be opened.
        """
        # A path goes into a URL part by part: it may hold `?` and `%`.
        url = (
            sa.URL.create("sqlite+aiosqlite", database=str(where))
            if isinstance(where, Path)
            else sa.make_url(where)
        )
        engine = _engine(url, write_wait_s)
        database = cls(engine, write_wait_s, _threads_engine(url, write_wait_s))
        try:
            async with database.read() as connection:
                at_head = await connection.run_sync(check_revision)
            if not at_head:
                async with database.write() as connection:
                    await connection.run_sync(migrate)
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Let go of every connection. Idempotent."""
        await self._reader.dispose()
        if self._in_thread is not None:
            self._in_thread.dispose()
        self._thread.shutdown()

    @property
    def is_shared(self) -> bool:
        """Whether other servers may work with it at the same time (PostgreSQL)."""
        return self._in_thread is None

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for one query: each statement sees the last committed state."""
        with _as_platform_errors():
            async with self._reader.connect() as connection:
                yield connection

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: durable when the block has ended, undone when it raises.

        When cancelled, either all of it or nothing has happened.
        """
        async with self._turn():
            with _as_platform_errors():
                async with self._writer.begin() as connection:
                    yield connection

    async def transact(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run `work` in a transaction, as `write` does: durable when this has returned."""
        engine = self._in_thread
        if engine is None:
            async with self.write() as connection:
                return await connection.run_sync(work)

        def run() -> Result:
            with _as_platform_errors(), engine.begin() as connection:
                return work(connection)

        async with self._turn():
            running = asyncio.get_running_loop().run_in_executor(self._thread, run)
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                await asyncio.wait([running])  # the turn is its until it has ended
                raise

    async def listen(self, channel: str, connected: Callable[[], None], heard: Heard) -> None:
        """Call `connected`, then `heard` with each message that any server sends to a channel with
        `pg_notify`. Returns when the connection has ended. PostgreSQL only."""
        import psycopg

        where = self._reader.url.set(drivername="postgresql")
        try:
            connection = await psycopg.AsyncConnection.connect(
                where.render_as_string(hide_password=False), autocommit=True
            )
            async with connection:
                await connection.execute(
                    psycopg.sql.SQL("LISTEN ") + psycopg.sql.Identifier(channel)
                )
                connected()
                async for message in connection.notifies():
                    heard(message.payload)
        except psycopg.Error as error:
            raise PlatformError(ErrorCode.SERVICE, f"the database failed: {error}") from error

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._write_wait_s):
                await self._write_turn.acquire()
        except TimeoutError as error:
            raise _unavailable("too many writes are waiting") from error
        try:
            yield
        finally:
            self._write_turn.release()


class _as_platform_errors:  # noqa: N801 - reads as a verb where it is used
    """Turns failures of the database into `PlatformError`; a broken constraint is the caller's."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if not isinstance(error, SQLAlchemyError) or isinstance(error, IntegrityError):
            return
        if isinstance(error, sa.exc.TimeoutError) or "database is locked" in str(error):
            raise _unavailable("the database is busy") from error
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise PlatformError(ErrorCode.SERVICE, f"the database failed: {cause}") from error


def _unavailable(why: str) -> PlatformError:
    return PlatformError(ErrorCode.UNAVAILABLE, f"The service is unavailable: {why}.")


def _engine(url: sa.URL, write_wait_s: float) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        return create_async_engine(url, pool_size=CONNECTIONS, pool_timeout=POOL_WAIT_S)
    if not url.database or url.database == ":memory:":
        raise ValueError("a database in memory would lose what was acknowledged: name a file")
    _make_file(Path(url.database))
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=POOL_WAIT_S,
        connect_args=_sqlite_arguments(write_wait_s),
    )
    _listen(engine.sync_engine)
    return engine


def _threads_engine(url: sa.URL, write_wait_s: float) -> sa.Engine | None:
    """SQLite without asyncio, to be used in a thread; None for other databases."""
    if url.get_backend_name() != "sqlite":
        return None
    engine = sa.create_engine(
        url.set(drivername="sqlite+pysqlite"),
        pool_size=1,
        max_overflow=0,
        connect_args={"check_same_thread": False, **_sqlite_arguments(write_wait_s)},
        execution_options={_WRITES: True},
    )
    _listen(engine)
    return engine


def _sqlite_arguments(write_wait_s: float) -> dict[str, Any]:
    # No implicit transactions by Python's driver: `_begin` says when one begins.
    return {"isolation_level": None, "timeout": write_wait_s}


def _listen(engine: sa.Engine) -> None:
    sa.event.listen(engine, "connect", _configure)
    sa.event.listen(engine, "begin", _begin)


def _make_file(path: Path) -> None:
    """Make an empty database, if there is none, that is readable to us alone: environment variables
    of functions will be in it. SQLite gives its -wal and -shm files the same mode.

    It appears with WAL on already: SQLite does not wait for its turn to switch that on, so of two
    processes that begin with one file, one would fail."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        return
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as directory:
        made = Path(directory, path.name)
        os.close(os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(made)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        try:
            os.link(made, path)
        except FileExistsError:
            pass  # another process was faster
        except OSError:  # a file system without links
            made.replace(path)


def _configure(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    if connection.get_execution_options().get(_WRITES):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
