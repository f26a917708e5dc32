"""News of events between servers that share a PostgreSQL: LISTEN and NOTIFY.

Within one process the store tells its keeper itself; SQLite is one process's alone. A message is
sent in the transaction that it tells of, and arrives when that is committed. One may be lost with a
connection: who has connected again looks for what is due (`EventKeeper.look_again`).
"""

from __future__ import annotations

import asyncio
import contextlib

import sqlalchemy as sa

from samovar.ports import EventKeeper
from samovar.store.database import Database
from samovar.telemetry.log import get_logger

log = get_logger("events")

CHANNEL = "samovar_events"
CONNECT_AGAIN_S = 1.0

_NOTIFY = sa.text("SELECT pg_notify(:channel, :message)")


def tell_servers(connection: sa.Connection, queue: str, due_at: float) -> None:
    """Tell all of them that a queue has an event that may be taken from then on."""
    if connection.dialect.name != "sqlite":
        message = {"channel": CHANNEL, "message": f"{due_at!r} {queue}"}
        connection.execute(_NOTIFY, message)


def tell_servers_to_look(connection: sa.Connection) -> None:
    """Tell all of them that something may be due anywhere."""
    if connection.dialect.name != "sqlite":
        connection.execute(_NOTIFY, {"channel": CHANNEL, "message": ""})


async def hear_servers(database: Database, keeper: EventKeeper, stop: asyncio.Event) -> None:
    """Hand on what servers tell, this one too, until `stop` is set."""
    while not stop.is_set():
        try:
            async with asyncio.TaskGroup() as listening:
                hearing = listening.create_task(_hear(database, keeper))
                stopping = listening.create_task(stop.wait())
                await asyncio.wait((hearing, stopping), return_when=asyncio.FIRST_COMPLETED)
                hearing.cancel()
                stopping.cancel()
        except* Exception as errors:  # of the database, or a message that is none of ours
            log.warning("news of events are not heard", error=str(errors.exceptions[0]))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_AGAIN_S):
                await stop.wait()


async def _hear(database: Database, keeper: EventKeeper) -> None:
    def heard(message: str) -> None:
        due_at, _, queue = message.partition(" ")
        if queue:
            keeper.waiting(queue, float(due_at))
        else:
            keeper.look_again()

    # What was told before there was a connection is looked for.
    await database.listen(CHANNEL, keeper.look_again, heard)
