"""Consumers of Kafka whose connections are bounded. Import it lazily: it loads aiokafka.

How this works. A Kafka client goes wherever the brokers send it: the first one names the others.
And aiokafka takes an answer as large as its sender says it is. So connections are made by
`_connect` here, which stands in aiokafka's place for all consumers: it asks the rules of the
consumer that wants the connection (a context variable: the tasks of a consumer inherit it) and
bounds what it reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextvars import ContextVar
from typing import Any

from aiokafka import AIOKafkaConsumer, client
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError

from samovar.events.sources.kafka.codecs import bound_decompression
from samovar.events.sources.kafka.login import KafkaLogin
from samovar.model.source_hosts import HostRules, Place

REQUEST_LIMIT_S = 20.0
"""For an answer; connecting, too, may take so long."""

SESSION_LIMIT_S = 10.0
"""Without a heartbeat for so long a consumer's partitions go to others, and so after a crash."""

REBALANCE_LIMIT_S = 60.0
"""How long the members of a group wait for each other when its partitions are dealt out anew."""

STOP_LIMIT_S = 10.0

FETCH_BYTES = 8 * 1024 * 1024
PARTITION_FETCH_BYTES = 1024 * 1024

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Brokers send a batch of records that is larger than was asked for, if it is the first."""

FOR_EVER_MS = 2**31 - 1

_rules: ContextVar[HostRules] = ContextVar("source_hosts")


@contextlib.asynccontextmanager
async def consumer_of(
    servers: Sequence[str], group: str, login: KafkaLogin, rules: HostRules
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that has not been started yet; it leaves its group and is closed at the end."""
    bound_decompression()
    client.create_conn = _connect
    # What it says is in the brokers' words; what matters is shown as the mapping's problem.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    _rules.set(rules)  # of this task, and so of all that the consumer starts
    consumer = AIOKafkaConsumer(
        bootstrap_servers=list(servers),
        client_id="samovar",
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # where records have gone, go on with those that are left
        fetch_max_bytes=FETCH_BYTES,
        max_partition_fetch_bytes=PARTITION_FETCH_BYTES,
        request_timeout_ms=int(REQUEST_LIMIT_S * 1000),
        session_timeout_ms=int(SESSION_LIMIT_S * 1000),
        rebalance_timeout_ms=int(REBALANCE_LIMIT_S * 1000),
        max_poll_interval_ms=FOR_EVER_MS,  # a function may be retried for days
        security_protocol=login.security_protocol,
        ssl_context=login.tls,
        sasl_mechanism=login.mechanism,
        sasl_plain_username=login.user,
        sasl_plain_password=login.password,
    )
    try:
        yield consumer
    finally:
        with contextlib.suppress(Exception):  # it is left by its brokers as well
            async with asyncio.timeout(STOP_LIMIT_S):
                await consumer.stop()


async def _connect(host: str, port: int, **settings: Any) -> AIOKafkaConnection:
    """In the place of `aiokafka.conn.create_conn`."""
    place, rules = Place(host.lower(), port), _rules.get(None)
    if rules is not None and not rules.allow(place):  # None: a client that is none of ours
        raise KafkaConnectionError(f"the server's event_source_hosts do not allow {place}")
    connection = _BoundedConnection(host, port, **settings)
    await connection.connect()
    return connection


class _BoundedConnection(AIOKafkaConnection):
    """A connection that is lost where an answer is too large. (aiokafka has no place to pass a
    reader, so this has to inherit.)"""

    _reader: Any

    def _create_reader_task(self) -> asyncio.Task[None]:
        self._reader = _BoundedReader(self._reader)
        task: asyncio.Task[None] = super()._create_reader_task()
        return task


class _BoundedReader:
    """What `AIOKafkaConnection` uses of a `StreamReader`."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def at_eof(self) -> bool:
        return self._reader.at_eof()

    async def readexactly(self, size: int) -> bytes:
        if not 0 <= size <= MAX_ANSWER_BYTES:
            raise KafkaConnectionError(f"a broker's answer of {size} bytes is not to be had")
        return await self._reader.readexactly(size)
