"""A connection to RabbitMQ that consumes one queue. Import it lazily: it loads aiormq.

How this works. A queue's messages are pushed, as many as the prefetch allows before they are
acknowledged, and a message may have any size. So bytes are bounded where they are read: while what
has come and was not asked for is over `MAX_WAITING_BYTES`, nothing is read, and the broker has to
wait; a frame or a message over its bound ends the connection. Heartbeats would do so, too, while
nothing is read: TCP's keep-alive stands in for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiormq
from aiormq.abc import DeliveredMessage
from aiormq.connection import TransportFactory
from yarl import URL

from samovar.events.sources.poller import SourceError
from samovar.events.sources.rabbitmq.record import Delivery
from samovar.model.mq_brokers import MqBroker

CONNECT_LIMIT_S = 20.0
REQUEST_LIMIT_S = 20.0
CLOSE_LIMIT_S = 5.0

CONSUMER = "samovar"
"""Its name, within its channel."""

MAX_FRAME_BYTES = 1024 * 1024
"""RabbitMQ's are up to 128 KiB unless told otherwise."""

MAX_MESSAGE_BYTES = 128 * 1024 * 1024
"""RabbitMQ's own limit unless told otherwise."""

MAX_WAITING_BYTES = 8 * 1024 * 1024

KEEP_ALIVE: tuple[tuple[int, int], ...] = (
    (socket.TCP_KEEPIDLE, 30),
    (socket.TCP_KEEPINTVL, 10),
    (socket.TCP_KEEPCNT, 3),
)

_HEADER_FRAME = 2


@dataclass(frozen=True, slots=True)
class Login:
    """Who opens the connection, and to which virtual host."""

    user: str
    password: str
    virtual_host: str

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, virtual_host={self.virtual_host!r})"


class RabbitMqLink:
    """The messages of a queue, in their order. Raises `SourceError`."""

    def __init__(self, channel: aiormq.abc.AbstractChannel, reading: asyncio.Event) -> None:
        self._channel = channel
        self._reading = reading
        self._waiting: deque[Delivery] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._end: str | None = None

    async def next(self) -> Delivery:
        """Wait for the next message; when cancelled, none is lost."""
        while not self._waiting:
            if self._end is not None:
                raise SourceError(self._end)
            self._changed.clear()
            await self._changed.wait()
        delivery = self._waiting.popleft()
        self._waiting_bytes -= len(delivery.body)
        self._gate()
        return delivery

    @property
    def is_reading(self) -> bool:
        """False: the broker has to wait until more is asked for."""
        return self._reading.is_set()

    async def acknowledge(self, tag: int, *, alone: bool = False) -> None:
        """Messages up to this one, or this one alone, are dealt with."""
        await self._answer(self._channel.basic_ack(tag, multiple=not alone))

    async def requeue(self, tag: int) -> None:
        """Messages up to this one are to come again."""
        await self._answer(self._channel.basic_nack(tag, multiple=True, requeue=True))

    async def reject(self, tag: int) -> None:
        """This one is not to come again; a queue's dead-letter exchange gets it."""
        await self._answer(self._channel.basic_reject(tag, requeue=False))

    async def _answer(self, sending: Any) -> None:
        try:
            async with asyncio.timeout(REQUEST_LIMIT_S):
                await sending
        except (aiormq.AMQPError, OSError, TimeoutError) as error:
            raise SourceError(self._end or f"RabbitMQ: {type(error).__name__}") from error

    # ------------------------------------------------------------ what comes

    async def arrived(self, message: DeliveredMessage) -> None:
        """Called by aiormq, in the order of the messages."""
        tag = message.delivery_tag
        if tag is None:
            return self.ended("RabbitMQ: a message without a tag")
        properties = message.header.properties
        delivery = Delivery(tag, bool(message.redelivered), properties, message.body)
        self._waiting.append(delivery)
        self._waiting_bytes += len(message.body)
        self._gate()
        return self._changed.set()

    def ended(self, reason: str) -> None:
        """There is nothing more to come."""
        self._end = self._end or reason
        self._changed.set()

    def _gate(self) -> None:
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self._reading.clear()
        else:
            self._reading.set()


@contextlib.asynccontextmanager
async def consuming(
    broker: MqBroker, login: Login, queue: str, prefetch: int
) -> AsyncIterator[RabbitMqLink]:
    """A link for one block: at its end, what is not acknowledged goes back to the queue. Raises
    `SourceError` where there is no way in, or no such queue."""
    # What it says is in the broker's words; what matters is shown as the mapping's problem.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    reading = asyncio.Event()
    reading.set()
    connection = aiormq.Connection(
        _url(broker, login),
        context=ssl.create_default_context() if broker.tls else None,
        transport_factory=_BoundedTransports(reading),
    )
    try:
        try:
            async with asyncio.timeout(CONNECT_LIMIT_S):
                link = await _open(connection, reading, queue, prefetch)
        except Exception as error:  # whatever aiormq makes of what is no RabbitMQ
            raise SourceError(_told(error)) from error
        yield link
    finally:
        reading.set()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await connection.close()


async def _open(
    connection: aiormq.Connection, reading: asyncio.Event, queue: str, prefetch: int
) -> RabbitMqLink:
    await connection.connect()
    channel = await connection.channel(publisher_confirms=False)
    await channel.queue_declare(queue, passive=True)
    await channel.basic_qos(prefetch_count=prefetch)
    link = RabbitMqLink(channel, reading)
    for part in (connection, channel):
        part.closing.add_done_callback(lambda closing: link.ended(_told(_exception(closing))))
    channel.on_consumer_cancel_callbacks.add(
        lambda _: link.ended(f"RabbitMQ: the queue {queue} has gone")
    )
    await channel.basic_consume(queue, link.arrived, consumer_tag=CONSUMER)
    return link


def _exception(closing: asyncio.Future[Any]) -> BaseException | None:
    return None if closing.cancelled() else closing.exception()


def _told(error: BaseException | None) -> str:
    """In short; the broker writes some of it. It never holds the login."""
    if error is None or isinstance(error, asyncio.CancelledError):
        return "RabbitMQ: the connection was closed"
    if isinstance(error, aiormq.AMQPError | OSError):
        text = str(error) or type(error).__name__
    else:
        text = type(error).__name__
    return "RabbitMQ: " + "".join(c if c.isprintable() else "?" for c in text)[:300]


def _url(broker: MqBroker, login: Login) -> URL:
    return URL.build(
        scheme="amqps" if broker.tls else "amqp",
        user=login.user,
        password=login.password,
        host=broker.host,
        port=broker.port,
        path="/" if login.virtual_host == "/" else f"/{login.virtual_host}",
        query={"heartbeat": "0", "name": "samovar"},
    )


class _BoundedTransports(TransportFactory):
    """Where aiormq gets its connections from. It asks for this class to be inherited."""

    def __init__(self, reading: asyncio.Event) -> None:
        self._reading = reading

    async def create(
        self, url: URL, **options: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = await options["ssl_context_provider"].get_context()
        reader, writer = await asyncio.open_connection(
            url.host, url.port, ssl=context if url.scheme == "amqps" else None
        )
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        bounded: Any = _BoundedReader(reader, self._reading)
        return bounded, writer


class _BoundedReader:
    """What aiormq uses of a `StreamReader`: it reads a frame in three steps, its first byte, six
    more with its length, and the rest."""

    def __init__(self, reader: asyncio.StreamReader, reading: asyncio.Event) -> None:
        self._reader = reader
        self._reading = reading
        self._kind = 0

    def at_eof(self) -> bool:
        return self._reader.at_eof()

    async def readexactly(self, size: int) -> bytes:
        if size > MAX_FRAME_BYTES:
            raise aiormq.AMQPConnectionError(f"a frame of {size} bytes is too large")
        if size == 1:
            await self._reading.wait()
        content = await self._reader.readexactly(size)
        if size == 1:
            self._kind = content[0]
        elif self._kind == _HEADER_FRAME and size > 12:
            # Class, weight, and then the size of the message.
            message_bytes = int.from_bytes(content[4:12], "big")
            if message_bytes > MAX_MESSAGE_BYTES:
                raise aiormq.AMQPConnectionError(f"a message of {message_bytes} bytes is too large")
        return content
