"""Brokers that want to harm the server that connects to them."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pamqp import commands, frame
from pamqp.header import ContentHeader

from samovar.config import Config
from samovar.events.clients import AwsClients
from samovar.events.sources.kafka.source import KafkaSource
from samovar.events.sources.poller import SourceError
from samovar.events.sources.rabbitmq.link import (
    CONSUMER,
    MAX_FRAME_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_WAITING_BYTES,
    Login,
    consuming,
)
from samovar.model.event_source import SourceKind
from samovar.model.mq_brokers import MqBroker
from samovar.model.source_hosts import HostRules
from tests.kafka_broker import Kafka, program
from tests.loopback import free_port
from tests.unit.fake_feed import FakeFeed, mapping, until

LOGIN = Login("guest", "hunter2", "/")

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@contextlib.asynccontextmanager
async def broker(serve: Callable[[Reader, Writer], Awaitable[Any]]) -> AsyncIterator[int]:
    """A server that does to each connection what it wants; its port."""

    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


def kafka_feed(port: int, topic: str = "tea") -> FakeFeed:
    return FakeFeed(
        mapping(
            SourceKind.KAFKA,
            source_arn=None,
            bootstrap_servers=(f"127.0.0.1:{port}",),
            topics=(topic,),
        )
    )


def kafka_source(rules: str = "*") -> KafkaSource:
    return KafkaSource(AwsClients(Config()), HostRules.parse(rules))


# ---------------------------------------------------------------- Kafka


@pytest.mark.parametrize(
    "answer",
    [
        struct.pack(">i", 2**31 - 1),
        struct.pack(">i", -1),
        struct.pack(">i", 4) + b"\xff\xff\xff\xff",
        struct.pack(">i", 0),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"",
    ],
    ids=["2 GiB", "negative", "of another request", "empty", "HTTP", "nothing"],
)
async def test_an_answer_that_is_none_ends_the_connection(answer):
    async def serve(reader: Reader, writer: Writer) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        if not answer:
            writer.close()
        await reader.read()

    async with broker(serve) as port:
        with pytest.raises(SourceError):
            await kafka_source().poll(kafka_feed(port))


async def test_a_broker_that_says_nothing_does_not_keep_a_poller_from_stopping():
    connected = asyncio.Event()

    async def serve(reader: Reader, writer: Writer) -> None:
        connected.set()
        await reader.read()

    async with broker(serve) as port:
        feed = kafka_feed(port)
        polling = asyncio.create_task(kafka_source().poll(feed))
        await connected.wait()
        feed.stopping.set()
        await polling


@pytest.mark.skipif(program() is None, reason="there is no Kafka broker for this machine")
async def test_a_broker_sends_nobody_to_a_host_that_is_not_allowed(tmp_path):
    """What the first broker says of where the others are is checked like what the mapping says."""
    visitors: list[int] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        visitors.append(1)
        await reader.read()

    async with broker(serve) as inner_port:
        kafka = Kafka(tmp_path / "kafka", advertised=f"localhost:{inner_port}")
        try:
            await asyncio.to_thread(kafka.start)
            with pytest.raises(SourceError):
                await kafka_source(f"127.0.0.1:{kafka.port}").poll(kafka_feed(kafka.port))
        finally:
            kafka.close()
    assert visitors == []


@pytest.mark.skipif(program() is None, reason="there is no Kafka broker for this machine")
async def test_a_batch_that_is_a_bomb_stops_its_own_partition_alone(tmp_path):
    kafka = await asyncio.to_thread(Kafka(tmp_path / "kafka").start)
    try:
        topic = await asyncio.to_thread(kafka.create_topic, f"bomb-{uuid.uuid4()}", 2)
        await asyncio.to_thread(
            kafka.send, topic, bytes(80 << 20), compression_type="zstd", max_request_size=1 << 30
        )
        await asyncio.to_thread(kafka.send, topic, b"tea", partition=1)
        feed = kafka_feed(kafka.port, topic)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(kafka_source().poll(feed))
            await until(lambda: bool(feed.problems and feed.batches), deadline_s=60)
            feed.stopping.set()
    finally:
        kafka.close()
    assert feed.batches == [[f"{topic}-1/0"]]
    assert f"The records of {topic}-0 cannot be read" in feed.problems[0]


@pytest.mark.skipif(program() is None, reason="there is no Kafka broker for this machine")
async def test_many_batches_that_are_large_once_decompressed_are_so_one_after_the_other(tmp_path):
    """On the wire all of them together are a few kilobytes, and are fetched at once."""
    kafka = await asyncio.to_thread(Kafka(tmp_path / "kafka").start)
    try:
        topic = await asyncio.to_thread(kafka.create_topic, f"bombs-{uuid.uuid4()}")
        large = [bytes(12 << 20)] * 16
        settings = {"compression_type": "zstd", "max_request_size": 1 << 30}
        await asyncio.to_thread(kafka.send, topic, *large, b"tea", **settings)
        feed = kafka_feed(kafka.port, topic)
        tracemalloc.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(kafka_source().poll(feed))
            await until(lambda: bool(feed.batches), deadline_s=60)
            feed.stopping.set()
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        kafka.close()
    assert feed.batches == [[f"{topic}-0/16"]]
    assert [each.condition for each in feed.given_up] == ["MaximumPayloadSizeExceeded"] * 16
    assert most_bytes < 120 << 20


# ---------------------------------------------------------------- RabbitMQ


def sent(method: Any, channel: int = 1) -> bytes:
    return frame.marshal(method, channel)


async def greet(reader: Reader, writer: Writer) -> None:
    """What RabbitMQ says until a consumer may expect messages."""
    await reader.readexactly(8)
    start = commands.Connection.Start(server_properties={"capabilities": {}}, mechanisms="PLAIN")
    answers = [
        sent(start, 0),
        sent(commands.Connection.Tune(10, 131072, 0), 0),
        b"",  # to TuneOk there is none
        sent(commands.Connection.OpenOk(), 0),
        sent(commands.Channel.OpenOk()),
        sent(commands.Queue.DeclareOk("q", 0, 0)),
        sent(commands.Basic.QosOk()),
    ]
    for answer in answers:
        writer.write(answer)
        await read_frame(reader)
    writer.write(sent(commands.Basic.ConsumeOk(CONSUMER)))


async def read_frame(reader: Reader) -> None:
    head = await reader.readexactly(7)
    await reader.readexactly(int.from_bytes(head[3:7], "big") + 1)


def message(body_bytes: int, tag: int = 1) -> bytes:
    """Its head; the body is yet to come."""
    properties = commands.Basic.Properties()
    return sent(commands.Basic.Deliver(CONSUMER, tag, False, "", "q")) + sent(
        ContentHeader(0, body_bytes, properties)
    )


@pytest.mark.parametrize(
    ("attack", "told"),
    [
        (b"\x01\x00\x01" + struct.pack(">I", 2**32 - 1), "frame of 4294967296 bytes"),
        (b"\x03\x00\x01" + struct.pack(">I", MAX_FRAME_BYTES + 1), "frame of 1048578 bytes"),
        (message(MAX_MESSAGE_BYTES + 1), "message of 134217729 bytes"),
        (message(2**63), f"message of {2**63} bytes"),
        (b"\x01\x00\x01\x00\x00\x00\x04\xff\xff\xff\xff\xce", "RabbitMQ: "),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "frame of"),
    ],
    ids=["a frame of 4 GiB", "a large frame", "a large message", "a vast one", "no method", "HTTP"],
)
async def test_what_is_no_amqp_or_too_large_ends_the_link(attack, told):
    async def serve(reader: Reader, writer: Writer) -> None:
        await greet(reader, writer)
        writer.write(attack)
        await reader.read()

    async with broker(serve) as port:
        with pytest.raises(SourceError, match=told) as refusal:
            async with consuming(MqBroker("127.0.0.1", port, tls=False), LOGIN, "q", 10) as link:
                await link.next()
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("greeting", [b"", b"AMQP\x00\x01\x00\x00", b"\x01" * 100])
async def test_a_greeting_that_is_none_ends_the_link(greeting):
    async def serve(reader: Reader, writer: Writer) -> None:
        writer.write(greeting)
        writer.close()

    async with broker(serve) as port:
        with pytest.raises(SourceError):
            async with consuming(MqBroker("127.0.0.1", port, tls=False), LOGIN, "q", 10):
                pass


async def test_messages_that_nobody_asked_for_are_not_all_read():
    """A broker that pushes more than the prefetch allows has to wait."""
    size, pushed = 100_000, 0

    async def serve(reader: Reader, writer: Writer) -> None:
        nonlocal pushed
        await greet(reader, writer)
        for tag in range(1, 1001):
            writer.write(message(size, tag))
            writer.write(b"\x03\x00\x01" + struct.pack(">I", size) + bytes(size) + b"\xce")
            await writer.drain()
            pushed += size

    async with broker(serve) as port:
        to = MqBroker("127.0.0.1", port, tls=False)
        async with consuming(to, LOGIN, "q", 10) as link:
            await until(lambda: not link.is_reading)
            assert pushed < MAX_WAITING_BYTES + 20_000_000  # what the kernel's buffers hold
            for tag in range(1, 1001):
                assert (await link.next()).tag == tag


async def test_a_port_where_nobody_listens_is_a_problem():
    to = MqBroker("127.0.0.1", free_port(), tls=False)
    with pytest.raises(SourceError):
        async with consuming(to, LOGIN, "q", 10):
            pass
