"""Kafka over TLS: a real broker behind a proxy that speaks TLS, for the broker here does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from samovar.events.sources.kafka.source import KafkaSource
from samovar.events.sources.poller import SourceError
from samovar.model.event_source import SourceAccess, SourceKind
from samovar.model.source_hosts import HostRules
from tests.certificates import Certificate
from tests.kafka_broker import Kafka, program
from tests.loopback import free_port
from tests.unit.fake_feed import FakeFeed, mapping, until

pytestmark = pytest.mark.skipif(program() is None, reason="there is no Kafka broker here")

SECRET = "arn:aws:secretsmanager:us-east-1:000000000000:secret:"
ROOT = SourceAccess("SERVER_ROOT_CA_CERTIFICATE", SECRET + "root")
CLIENT = SourceAccess("CLIENT_CERTIFICATE_TLS_AUTH", SECRET + "client")


class Secrets:
    """What the source uses of `AwsClients`, and of a client of Secrets Manager."""

    def __init__(self, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self._secrets = secrets

    @contextlib.asynccontextmanager
    async def client(self, service: str, region: str) -> AsyncIterator[Any]:
        yield self

    async def get_secret_value(self, SecretId: str) -> dict[str, str]:
        return {"SecretString": json.dumps(self._secrets[SecretId])}


@pytest.fixture(scope="module")
def server_certificate() -> Certificate:
    return Certificate.make()


@pytest.fixture(scope="module")
def client_certificate() -> Certificate:
    return Certificate.make()


def context_of(server: Certificate, client: Certificate, folder: Path) -> ssl.SSLContext:
    """Of a server that wants to see the client's certificate."""
    chain = folder / "chain.pem"
    chain.write_text(server.pem + server.key())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=client.pem)
    context.load_cert_chain(chain)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.asynccontextmanager
async def tls_before(port: int, at: int, context: ssl.SSLContext) -> AsyncIterator[None]:
    """What is sent to `at` over TLS arrives at `port`, and the other way round."""
    connections: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        to_broker, from_client = await asyncio.open_connection("127.0.0.1", port)
        pumps = [copy(reader, from_client), copy(to_broker, writer)]
        try:
            with contextlib.suppress(OSError):
                await asyncio.gather(*pumps)
        finally:
            writer.transport.abort()
            from_client.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", at, ssl=context)
    async with server:
        yield
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


@pytest.fixture
async def port(
    server_certificate: Certificate, client_certificate: Certificate, tmp_path: Path
) -> AsyncIterator[int]:
    """Where a broker is, over TLS alone: it has a record."""
    port = free_port()
    kafka = Kafka(tmp_path / "kafka", advertised=f"localhost:{port}")
    context = context_of(server_certificate, client_certificate, tmp_path)
    await asyncio.to_thread(kafka.start)
    try:
        async with tls_before(kafka.port, port, context):
            await fill(port, server_certificate, client_certificate, tmp_path)
            yield port
    finally:
        kafka.close()


async def fill(port: int, server: Certificate, client: Certificate, folder: Path) -> None:
    chain = folder / "client.pem"
    chain.write_text(client.pem + client.key())
    context = ssl.create_default_context(cadata=server.pem)
    context.load_cert_chain(chain)
    at = {"bootstrap_servers": f"localhost:{port}", "security_protocol": "SSL"}
    admin = AIOKafkaAdminClient(**at, ssl_context=context)
    producer = AIOKafkaProducer(**at, ssl_context=context)
    await admin.start()
    try:
        await admin.create_topics([NewTopic("tea", 1, 1)])
    finally:
        await admin.close()
    await producer.start()
    try:
        await producer.send_and_wait("tea", b"Assam")
    finally:
        await producer.stop()


async def poll(port: int, secrets: Mapping[SourceAccess, Mapping[str, str]]) -> list[list[str]]:
    """The ids of what was delivered, batch by batch."""
    settings = {"bootstrap_servers": (f"localhost:{port}",), "topics": ("tea",)}
    feed = FakeFeed(mapping(SourceKind.KAFKA, source_arn=None, access=tuple(secrets), **settings))
    clients: Any = Secrets({access.uri: secret for access, secret in secrets.items()})
    polling = asyncio.create_task(KafkaSource(clients, HostRules.parse("localhost")).poll(feed))
    try:
        await until(lambda: polling.done() or bool(feed.batches), deadline_s=60)
    finally:
        feed.stopping.set()
        await polling
    return feed.batches


async def test_records_come_over_tls_with_certificates_on_both_sides(
    port, server_certificate, client_certificate
):
    batches = await poll(
        port,
        {
            ROOT: {"certificate": server_certificate.pem},
            CLIENT: {
                "certificate": client_certificate.pem,
                "privateKey": client_certificate.key("hunter2"),
                "privateKeyPassword": "hunter2",
            },
        },
    )
    assert batches == [["tea-0/0"]]


async def test_a_broker_whose_certificate_nobody_vouches_for_is_not_talked_to(
    port, client_certificate
):
    """The machine's authorities do not know it."""
    key = {"certificate": client_certificate.pem, "privateKey": client_certificate.key()}
    with pytest.raises(SourceError):
        await poll(port, {CLIENT: key})


async def test_a_broker_that_wants_a_certificate_and_gets_none_is_a_problem(
    port, server_certificate
):
    with pytest.raises(SourceError):
        await poll(port, {ROOT: {"certificate": server_certificate.pem}})
