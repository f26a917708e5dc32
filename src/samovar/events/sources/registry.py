"""Which kinds of sources can be polled, and by what."""

from __future__ import annotations

from collections.abc import Mapping

from samovar.config import Config
from samovar.events.clients import AwsClients
from samovar.events.sources.kafka.source import KafkaSource
from samovar.events.sources.poller import Source
from samovar.events.sources.rabbitmq.source import RabbitMqSource
from samovar.events.sources.sqs.source import SqsSource
from samovar.events.sources.streams.dynamodb import dynamodb_opener
from samovar.events.sources.streams.kinesis import kinesis_opener
from samovar.events.sources.streams.source import StreamSource
from samovar.model.event_source import SourceKind


def source_kinds(clients: AwsClients, config: Config) -> Mapping[SourceKind, Source]:
    """Every kind of source."""
    rules = config.source_host_rules
    return {
        SourceKind.SQS: SqsSource(clients),
        SourceKind.KINESIS: StreamSource("Kinesis", kinesis_opener(clients)),
        SourceKind.DYNAMODB: StreamSource("DynamoDB Streams", dynamodb_opener(clients)),
        SourceKind.KAFKA: KafkaSource(clients, rules),
        SourceKind.RABBITMQ: RabbitMqSource(clients, config.mq_broker_places, rules),
    }
