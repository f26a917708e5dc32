"""An event source mapping: from which source a function's events come, and how.

The lifecycle, with AWS's names. A state that ends in -ing is what the API acknowledges; the events
role then does it and settles the mapping. Between the two nothing else can be asked of it.

    Creating ──▶ Enabled ◀──▶ (Disabling, Enabling) ◀──▶ Disabled
                    │ ▲                                   │ ▲
                    ▼ │                                   ▼ │
                  Updating                              Updating
    Enabled, Disabled ──▶ Deleting ──▶ (gone)
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from enum import StrEnum

import msgspec
from msgspec import structs

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionId

NOTHING_YET = "No records processed"
USER_ACTION = "User action"

MAX_FILTERS = 5
"""Patterns of one mapping. https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html"""


class SourceKind(StrEnum):
    """What can be polled."""

    SQS = "sqs"
    KINESIS = "kinesis"
    DYNAMODB = "dynamodb"
    KAFKA = "kafka"
    """Self-managed Apache Kafka."""
    RABBITMQ = "rabbitmq"


class MappingState(StrEnum):
    """See the module's picture; `MAPPING_MOVES` is the transition table."""

    CREATING = "Creating"
    ENABLING = "Enabling"
    ENABLED = "Enabled"
    DISABLING = "Disabling"
    DISABLED = "Disabled"
    UPDATING = "Updating"
    DELETING = "Deleting"
    GONE = "Gone"
    """Never stored, never shown."""


MAPPING_MOVES: Mapping[MappingState, frozenset[MappingState]] = {
    MappingState.CREATING: frozenset({MappingState.ENABLED, MappingState.DISABLED}),
    MappingState.ENABLED: frozenset(
        {MappingState.DISABLING, MappingState.UPDATING, MappingState.DELETING}
    ),
    MappingState.DISABLED: frozenset(
        {MappingState.ENABLING, MappingState.UPDATING, MappingState.DELETING}
    ),
    MappingState.ENABLING: frozenset({MappingState.ENABLED}),
    MappingState.DISABLING: frozenset({MappingState.DISABLED}),
    MappingState.UPDATING: frozenset({MappingState.ENABLED, MappingState.DISABLED}),
    MappingState.DELETING: frozenset({MappingState.GONE}),
    MappingState.GONE: frozenset(),
}

SETTLED = frozenset({MappingState.ENABLED, MappingState.DISABLED})
"""States in which a mapping can be updated and deleted."""


class SourceAccess(msgspec.Struct, frozen=True):
    """How to log in to a broker: one of SourceAccessConfigurations."""

    type: str
    uri: str
    """A secret's ARN, or what the type calls for (a virtual host's name)."""


class EventSourceMapping(msgspec.Struct, frozen=True, kw_only=True):
    """One mapping with its whole configuration. None where AWS shows nothing."""

    uuid: str
    kind: SourceKind
    function: FunctionId
    qualifier: str | None = None
    state: MappingState
    state_reason: str = USER_ACTION
    enabled: bool = True
    """What its owner wants; the state follows."""
    revision: int = 1
    """Counts the changes of its configuration: pollers of an older one are ended."""
    last_modified: dt.datetime
    last_result: str = NOTHING_YET

    # Which source.
    source_arn: str | None = None
    """None: self-managed Kafka."""
    bootstrap_servers: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    """Of a broker (MQ)."""
    consumer_group_id: str | None = None
    access: tuple[SourceAccess, ...] = ()
    starting_position: str | None = None
    starting_timestamp: dt.datetime | None = None

    # How records become batches.
    batch_size: int
    window_s: int | None = None
    """MaximumBatchingWindowInSeconds; None: the source's default."""
    filters: tuple[str, ...] = ()
    """Patterns, any of which lets a record through; none: all go through."""
    parallelization: int | None = None
    """Batches of one shard at once."""
    max_concurrency: int | None = None
    """Batches of a queue at once."""

    # What happens to those that fail.
    partial_failures: bool = False
    """FunctionResponseTypes: ReportBatchItemFailures."""
    bisect: bool | None = None
    max_retries: int | None = None
    """-1: until the records expire."""
    max_record_age_s: int | None = None
    """-1: until the records expire."""
    on_failure_arn: str | None = None

    @property
    def arn(self) -> str:
        """EventSourceMappingArn."""
        account, region, _ = self.function
        return f"arn:aws:lambda:{region}:{account}:event-source-mapping:{self.uuid}"

    @property
    def function_arn(self) -> str:
        """As its owner named the function: with the qualifier, if any."""
        if self.qualifier is None:
            return self.function.arn
        return self.function.qualified_arn(self.qualifier)

    @property
    def source_region(self) -> str:
        """Where the source is: its ARN says so, or else where the function is."""
        named = self.source_arn.split(":")[3] if self.source_arn else ""
        return named or self.function.region

    def feeds_the_same(self, other: EventSourceMapping) -> bool:
        """Whether both bring the same source's records to the same function."""
        return _identity(self) == _identity(other)


def _identity(mapping: EventSourceMapping) -> tuple[object, ...]:
    return (
        mapping.function_arn,
        mapping.source_arn,
        frozenset(mapping.bootstrap_servers),
        mapping.topics,
        mapping.queues,
    )


def begin(mapping: EventSourceMapping, state: MappingState, verb: str) -> EventSourceMapping:
    """The mapping on its way to what its owner has asked for. RESOURCE_IN_USE while it is on its
    way to something else already."""
    if mapping.state not in SETTLED:
        raise PlatformError(
            ErrorCode.RESOURCE_IN_USE,
            f"Cannot {verb} the event source mapping because it is in use.",
        )
    return _moved(mapping, state)


def settle(mapping: EventSourceMapping, now: dt.datetime) -> EventSourceMapping:
    """The mapping where it was on its way to; itself where it has arrived, or is to be deleted."""
    if mapping.state in SETTLED or mapping.state is MappingState.DELETING:
        return mapping
    state = MappingState.ENABLED if mapping.enabled else MappingState.DISABLED
    return structs.replace(_moved(mapping, state), last_modified=now)


def _moved(mapping: EventSourceMapping, state: MappingState) -> EventSourceMapping:
    if state not in MAPPING_MOVES[mapping.state]:
        raise ValueError(f"a mapping cannot go from {mapping.state} to {state}")
    return structs.replace(mapping, state=state)
