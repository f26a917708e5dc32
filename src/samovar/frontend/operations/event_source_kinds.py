"""What each kind of event source knows of settings: which members, which defaults, which bounds.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html, -kinesis-, -ddb-, …
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from samovar.frontend.operations.configuration import invalid
from samovar.frontend.operations.control import Params
from samovar.model.event_source import EventSourceMapping, SourceKind

MAX_SQS_RECEIVE = 10
"""Messages that one ReceiveMessage brings: larger batches need a window to be gathered in."""

_EVERYWHERE = frozenset(
    {
        "BatchSize",
        "Enabled",
        "EventSourceArn",
        "FilterCriteria",
        "FunctionName",
        "MaximumBatchingWindowInSeconds",
        "Tags",
        "UUID",
    }
)
_POSITIONS = frozenset({"StartingPosition", "StartingPositionTimestamp"})
_RETRIES = frozenset(
    {
        "BisectBatchOnFunctionError",
        "DestinationConfig",
        "FunctionResponseTypes",
        "MaximumRecordAgeInSeconds",
        "MaximumRetryAttempts",
    }
)
_SECRETS = frozenset({"SourceAccessConfigurations"})


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of source."""

    title: str
    """As messages name it."""
    members: frozenset[str]
    """Those of a request that mean something, beside those that mean something everywhere."""
    check: Callable[[EventSourceMapping], None]
    """Raises INVALID_PARAMETER for settings that do not go together."""
    default_batch_size: int = 100
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of a mapping."""
    consumer_groups: bool = False

    @property
    def on_failure(self) -> bool:
        """Whether it has an on-failure destination."""
        return "DestinationConfig" in self.members

    def check_members(self, params: Params) -> None:
        """Raise INVALID_PARAMETER for the first member that means nothing here."""
        for member in sorted(params.keys() & _KNOWN - self.members - _EVERYWHERE):
            if not _asks_for_nothing(params[member]):
                raise invalid(f"{member} is not supported for {self.title} event sources.")


def kind_of(params: Params) -> SourceKind:
    """Which kind of source a request to create a mapping names. Raises INVALID_PARAMETER."""
    arn: str | None = params.get("EventSourceArn")
    if params.get("SelfManagedEventSource") is not None:
        if arn:
            raise invalid("EventSourceArn and SelfManagedEventSource cannot be given together.")
        return SourceKind.KAFKA
    if not arn:
        raise invalid("EventSourceArn or SelfManagedEventSource is required.")
    _, _, service, _, _, resource = arn.split(":", 5)
    for kind, (named, holds) in _ARNS.items():
        if service == named and holds(resource):
            return kind
    raise invalid(
        "Unrecognized event source, must be kinesis, dynamodb stream, sqs, a RabbitMQ broker or "
        f"self-managed Kafka: {arn[:200]}"
    )


_ARNS: Mapping[SourceKind, tuple[str, Callable[[str], bool]]] = {
    SourceKind.SQS: ("sqs", bool),
    SourceKind.KINESIS: ("kinesis", lambda resource: resource.startswith("stream/")),
    SourceKind.DYNAMODB: ("dynamodb", lambda resource: "/stream/" in resource),
    SourceKind.RABBITMQ: ("mq", lambda resource: resource.startswith("broker:")),
}
"""Kind → the service of its ARNs, and what the rest of them is like."""


def _asks_for_nothing(value: Any) -> bool:
    return value in (None, False) or (isinstance(value, dict | list) and not value)


def _check_sqs(mapping: EventSourceMapping) -> None:
    fifo = (mapping.source_arn or "").endswith(".fifo")
    if fifo and mapping.batch_size > MAX_SQS_RECEIVE:
        raise invalid("Maximum batch size for FIFO queues is 10.")
    if fifo and mapping.window_s:
        raise invalid("Batching window is not supported for FIFO queues.")
    if mapping.batch_size > MAX_SQS_RECEIVE and not mapping.window_s:
        raise invalid(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is "
            "greater than 10"
        )


def _check_position(mapping: EventSourceMapping) -> None:
    if mapping.starting_position is None:
        raise invalid(
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy "
            "constraint: Member must not be null."
        )


def _check_dynamodb(mapping: EventSourceMapping) -> None:
    _check_position(mapping)
    if mapping.starting_position == "AT_TIMESTAMP":
        raise invalid("AT_TIMESTAMP is not supported for DynamoDB Streams event sources.")


def _check_kafka(mapping: EventSourceMapping) -> None:
    _check_position(mapping)
    if not mapping.topics:
        raise invalid("Topics is required for Kafka event sources.")


def _check_rabbitmq(mapping: EventSourceMapping) -> None:
    if not mapping.queues:
        raise invalid("Queues is required for MQ event sources.")


_STREAM_DEFAULTS: Mapping[str, Any] = {
    "window_s": 0,
    "parallelization": 1,
    "bisect": False,
    "max_retries": -1,
    "max_record_age_s": -1,
}
_STREAM_MEMBERS = _POSITIONS | _RETRIES | {"ParallelizationFactor", "TumblingWindowInSeconds"}

KINDS: Mapping[SourceKind, Kind] = {
    SourceKind.SQS: Kind(
        "SQS",
        frozenset({"FunctionResponseTypes", "ScalingConfig"}),
        _check_sqs,
        default_batch_size=10,
        defaults={"window_s": 0},
    ),
    SourceKind.KINESIS: Kind(
        "Kinesis", _STREAM_MEMBERS, _check_position, defaults=_STREAM_DEFAULTS
    ),
    SourceKind.DYNAMODB: Kind(
        "DynamoDB Streams", _STREAM_MEMBERS, _check_dynamodb, defaults=_STREAM_DEFAULTS
    ),
    SourceKind.KAFKA: Kind(
        "Kafka",
        _POSITIONS
        | _RETRIES
        | _SECRETS
        | {"Topics", "SelfManagedEventSource", "SelfManagedKafkaEventSourceConfig"},
        _check_kafka,
        consumer_groups=True,
    ),
    SourceKind.RABBITMQ: Kind("MQ", _SECRETS | {"Queues"}, _check_rabbitmq),
}

_KNOWN = frozenset().union(*(kind.members for kind in KINDS.values()))
"""Members that mean something to some kind; what means nothing to any is refused elsewhere."""
