"""RabbitMQ as an event source: Lambda's Amazon MQ source.

As on AWS, one batch of a mapping is delivered at a time, and a batch that fails goes back to its
queue and comes again, as redelivered, for as long as the queue keeps it: its own limits (time to
live, deliveries) and its dead-letter exchange say what becomes of bad messages.

https://docs.aws.amazon.com/lambda/latest/dg/with-mq.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from samovar.events.clients import AwsClients
from samovar.events.sources.batch import ENVELOPE_BYTES, Batcher
from samovar.events.sources.filter import admitted
from samovar.events.sources.poller import Ending, Feed
from samovar.events.sources.rabbitmq.record import envelope_of, record_of
from samovar.events.sources.record import Record
from samovar.events.sources.source_secrets import check_secret, read_secret, secret_field
from samovar.events.sources.waiting import wait_for_source
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_source import EventSourceMapping
from samovar.model.function import FunctionVersion
from samovar.model.invocation import MAX_PAYLOAD_BYTES
from samovar.model.mq_brokers import MqBroker, broker_name
from samovar.model.source_hosts import HostRules

if TYPE_CHECKING:
    from samovar.events.sources.rabbitmq.link import Login, RabbitMqLink

DEFAULT_WINDOW_S = 0.5
"""https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html"""

FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 60.0

MAX_RECORD_BYTES = MAX_PAYLOAD_BYTES - ENVELOPE_BYTES

BASIC_AUTH = "BASIC_AUTH"
VIRTUAL_HOST = "VIRTUAL_HOST"


class RabbitMqSource:
    """See `poller.Source`."""

    def __init__(
        self, clients: AwsClients, brokers: Mapping[str, MqBroker], rules: HostRules
    ) -> None:
        self._clients = clients
        self._brokers = brokers
        self._rules = rules

    async def check(self, mapping: EventSourceMapping, version: FunctionVersion) -> None:
        """INVALID_PARAMETER for a broker that is nowhere here, or must not be connected to, and
        for ways to log in that there are not. The broker is not asked."""
        self._broker(mapping)
        types = [each.type for each in mapping.access]
        if unknown := set(types) - {BASIC_AUTH, VIRTUAL_HOST}:
            raise _invalid(f"{', '.join(sorted(unknown))} is no way to access RabbitMQ.")
        if types.count(BASIC_AUTH) != 1 or types.count(VIRTUAL_HOST) > 1:
            raise _invalid("One BASIC_AUTH, and at most one VIRTUAL_HOST, is required.")
        for each in mapping.access:
            if each.type == BASIC_AUTH:
                check_secret(self._clients, each.uri)

    async def poll(self, feed: Feed) -> None:
        """See `poller.Source`. Raises `SourceError`."""
        from samovar.events.sources.rabbitmq.link import consuming

        mapping = feed.mapping
        broker, login = self._broker(mapping), await self._login(mapping)
        (queue,) = mapping.queues
        async with consuming(broker, login, queue, mapping.batch_size) as link:
            await _QueueWorker(feed, link, queue, login.virtual_host).run()

    def _broker(self, mapping: EventSourceMapping) -> MqBroker:
        arn = mapping.source_arn or ""
        name = broker_name(arn)
        if name is None:
            raise _invalid(f"{arn} is not the ARN of a broker.")
        if name not in self._brokers:
            raise _invalid(
                f"This server does not know where the broker {name} is: set SAMOVAR_MQ_BROKERS to "
                f"{name}=amqp://host:port/ when it is started."
            )
        broker = self._brokers[name]
        if not self._rules.allow(broker.place):
            raise _invalid(
                f"This server does not connect to {broker.place}: see its setting "
                "event_source_hosts."
            )
        return broker

    async def _login(self, mapping: EventSourceMapping) -> Login:
        from samovar.events.sources.rabbitmq.link import Login

        by_type = {each.type: each.uri for each in mapping.access}
        arn = by_type[BASIC_AUTH]
        secret = await read_secret(self._clients, arn)
        user, password = (
            secret_field(arn, secret, "username"),
            secret_field(arn, secret, "password"),
        )
        return Login(user, password, by_type.get(VIRTUAL_HOST, "/"))


class _QueueWorker:
    """Deals with the messages of a queue, one batch after another."""

    def __init__(self, feed: Feed, link: RabbitMqLink, queue: str, virtual_host: str) -> None:
        self._feed = feed
        self._link = link
        self._queue = queue
        self._virtual_host = virtual_host
        self._envelope = envelope_of(feed.mapping.source_arn or "")
        self._batcher = Batcher.of(feed.mapping, DEFAULT_WINDOW_S)
        self._waits = 0
        """Since the last success."""

    async def run(self) -> None:
        """Until the feed is stopping: what is not acknowledged then goes back to the queue."""
        while not self._feed.stopping.is_set():
            batch = self._batcher.take(self._feed.clock.now())
            if batch is None:
                await self._fetch()
            else:
                await self._deliver(batch)

    async def _fetch(self) -> None:
        feed, link = self._feed, self._link
        due_at = self._batcher.due_at
        delivery = await wait_for_source(link.next(), feed.clock, due_at, feed.stopping)
        if delivery is None:
            return
        record = record_of(self._queue, self._virtual_host, delivery, MAX_RECORD_BYTES)
        if record is None:
            feed.problem("A message is too large for any event")
            await link.reject(delivery.tag)
        elif await admitted(record, feed.admits):
            self._batcher.add(record, feed.clock.now())
        else:  # at once: it would take up room in the prefetch
            await link.acknowledge(delivery.tag, alone=True)

    async def _deliver(self, records: list[Record]) -> None:
        result = await self._feed.deliver(records, self._envelope)
        while result.ending is Ending.NOT_BEGUN:
            # Back in the queue it would count as delivered once more, and queues may have a limit.
            if not await self._wait():
                return
            result = await self._feed.deliver(records, self._envelope)
        last = int(records[-1].id)
        if result.ending is Ending.SUCCEEDED:
            self._waits = 0
            await self._link.acknowledge(last)
        else:
            await self._link.requeue(last)
            await self._wait()

    async def _wait(self) -> bool:
        """Longer each time; False: the feed is stopping."""
        wait_s = min(FIRST_BACK_OFF_S * 2 ** min(self._waits, 16), LONGEST_BACK_OFF_S)
        self._waits += 1
        return await self._feed.pause(wait_s)


def _invalid(message: str) -> PlatformError:
    return PlatformError(ErrorCode.INVALID_PARAMETER, message)
