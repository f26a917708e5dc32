"""Self-managed Apache Kafka as an event source.

https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samovar.events.clients import AwsClients
from samovar.events.sources.kafka.login import KafkaLogin, check_access, login
from samovar.events.sources.poller import Feed, SourceError
from samovar.events.sources.source_secrets import check_secret, read_secret
from samovar.events.sources.waiting import wait_for_source
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_source import EventSourceMapping
from samovar.model.function import FunctionVersion
from samovar.model.source_hosts import HostRules, Place

if TYPE_CHECKING:
    from aiokafka import AIOKafkaConsumer

MAX_PROBLEM_CHARS = 300


class KafkaSource:
    """See `poller.Source`."""

    def __init__(self, clients: AwsClients, rules: HostRules) -> None:
        self._clients = clients
        self._rules = rules

    async def check(self, mapping: EventSourceMapping, version: FunctionVersion) -> None:
        """INVALID_PARAMETER for servers that cannot be, or must not be, connected to, and for
        ways to log in that there are not. The brokers are not asked."""
        for server in mapping.bootstrap_servers:
            try:
                place = Place.parse(server)
            except ValueError as error:
                raise _invalid(f"A bootstrap server must be a {error}.") from error
            if place.port is None or "*" in place.host:
                raise _invalid(f"A bootstrap server must be a host:port, not {server!r}.")
            if not self._rules.allow(place):
                raise _invalid(
                    f"This server does not connect to {place}: see its setting event_source_hosts."
                )
        check_access(mapping.access)
        for each in mapping.access:
            check_secret(self._clients, each.uri)

    async def poll(self, feed: Feed) -> None:
        """See `poller.Source`. Raises `SourceError`."""
        from aiokafka.errors import KafkaError

        from samovar.events.sources.kafka.client import consumer_of
        from samovar.events.sources.kafka.group import KafkaGroup

        mapping = feed.mapping
        group = mapping.consumer_group_id or mapping.uuid
        try:
            log_in = await self._login(mapping)
            async with consumer_of(
                mapping.bootstrap_servers, group, log_in, self._rules
            ) as consumer:
                starting = _start(consumer, mapping.topics[0])
                await wait_for_source(starting, feed.clock, None, feed.stopping)
                if not feed.stopping.is_set():
                    await KafkaGroup(feed, consumer).run()
        except Exception as error:
            cause = _cause(error)
            if isinstance(cause, KafkaError | OSError):
                raise SourceError(f"Kafka: {_printable(cause)}") from error
            raise cause from error

    async def _login(self, mapping: EventSourceMapping) -> KafkaLogin:
        secrets = {each.uri: await read_secret(self._clients, each.uri) for each in mapping.access}
        return login(mapping.access, secrets)


async def _start(consumer: AIOKafkaConsumer, topic: str) -> None:
    from aiokafka.errors import KafkaError

    try:
        await consumer.start()
        topics = await consumer.topics()
    except (KafkaError, OSError):
        raise
    except Exception as error:  # whatever aiokafka makes of answers that are none of Kafka's
        raise SourceError(f"No answer of Kafka's: {type(error).__name__}") from error
    if topic not in topics:
        raise SourceError(f"The cluster has no topic {topic}")


def _cause(error: BaseException) -> BaseException:
    """What has gone wrong first."""
    return _cause(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _printable(error: BaseException) -> str:
    """In short; brokers write some of it."""
    text = str(error) or type(error).__name__
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown[:MAX_PROBLEM_CHARS]


def _invalid(message: str) -> PlatformError:
    return PlatformError(ErrorCode.INVALID_PARAMETER, message)
