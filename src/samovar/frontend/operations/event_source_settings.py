"""A request's settings as an event source mapping's, and a mapping as AWS describes it.

What a kind of source does not know, and what this platform cannot enforce, is refused.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from samovar.frontend.operations.configuration import invalid
from samovar.frontend.operations.control import Params, Result
from samovar.frontend.operations.event_source_kinds import KINDS, Kind, kind_of
from samovar.model.event_source import (
    MAX_FILTERS,
    EventSourceMapping,
    MappingState,
    SourceAccess,
)
from samovar.model.function import FunctionId

MIN_RECORD_AGE_S = 60

NOT_ENFORCED = (
    "KMSKeyArn",
    "MetricsConfig",
    "LoggingConfig",
    "ProvisionedPollerConfig",
    "DocumentDBEventSourceConfig",
    "AmazonManagedKafkaEventSourceConfig",
    "TumblingWindowInSeconds",
)
"""Members that are refused, unless they ask for nothing."""


def new_mapping(
    params: Params, uuid: str, function: FunctionId, qualifier: str | None, now: dt.datetime
) -> EventSourceMapping:
    """The mapping that a CreateEventSourceMapping asks for. Raises INVALID_PARAMETER."""
    name = kind_of(params)
    kind = KINDS[name]
    kind.check_members(params)
    if params.get("Tags"):
        raise invalid("Tags of event source mappings are not supported by this server.")
    servers = (params.get("SelfManagedEventSource") or {}).get("Endpoints") or {}
    mapping = EventSourceMapping(
        uuid=uuid,
        kind=name,
        function=function,
        qualifier=qualifier,
        state=MappingState.CREATING,
        enabled=params.get("Enabled") is not False,
        last_modified=now,
        source_arn=params.get("EventSourceArn"),
        bootstrap_servers=tuple(servers.get("KAFKA_BOOTSTRAP_SERVERS") or ()),
        topics=tuple(params.get("Topics") or ()),
        queues=tuple(params.get("Queues") or ()),
        starting_position=params.get("StartingPosition"),
        starting_timestamp=_starting_timestamp(params, now),
        consumer_group_id=(params.get("SelfManagedKafkaEventSourceConfig") or {}).get(
            "ConsumerGroupId"
        )
        or (uuid if kind.consumer_groups else None),
        batch_size=kind.default_batch_size,
        **kind.defaults,
    )
    return _checked(_with_settings(mapping, params), kind)


def updated_mapping(
    mapping: EventSourceMapping,
    params: Params,
    function: FunctionId,
    qualifier: str | None,
    now: dt.datetime,
) -> EventSourceMapping:
    """The mapping as an UpdateEventSourceMapping wants it. Raises INVALID_PARAMETER."""
    kind = KINDS[mapping.kind]
    kind.check_members(params)
    enabled = params.get("Enabled")
    updated = structs.replace(
        mapping,
        function=function,
        qualifier=qualifier,
        enabled=mapping.enabled if enabled is None else enabled,
        last_modified=now,
        revision=mapping.revision + 1,
    )
    return _checked(_with_settings(updated, params), kind)


def _with_settings(mapping: EventSourceMapping, params: Params) -> EventSourceMapping:
    """The mapping with those settings that the request has."""
    _refuse_unenforced(params)
    _check_kafka_config(mapping, params)
    changes: dict[str, Any] = {}
    for member, field in _PLAIN.items():
        if params.get(member) is not None:
            changes[field] = params[member]
    if params.get("FilterCriteria") is not None:
        given = params["FilterCriteria"].get("Filters") or ()
        changes["filters"] = tuple(each.get("Pattern") or "{}" for each in given)
    if params.get("FunctionResponseTypes") is not None:
        changes["partial_failures"] = bool(params["FunctionResponseTypes"])
    if params.get("ScalingConfig") is not None:
        changes["max_concurrency"] = params["ScalingConfig"].get("MaximumConcurrency")
    if params.get("DestinationConfig") is not None:
        changes["on_failure_arn"] = _on_failure(params["DestinationConfig"])
    if params.get("SourceAccessConfigurations") is not None:
        changes["access"] = tuple(
            SourceAccess(each.get("Type") or "", each.get("URI") or "")
            for each in params["SourceAccessConfigurations"]
        )
    return structs.replace(mapping, **changes)


_PLAIN: Mapping[str, str] = {
    "BatchSize": "batch_size",
    "MaximumBatchingWindowInSeconds": "window_s",
    "ParallelizationFactor": "parallelization",
    "BisectBatchOnFunctionError": "bisect",
    "MaximumRetryAttempts": "max_retries",
    "MaximumRecordAgeInSeconds": "max_record_age_s",
}
"""Member → field."""


def _checked(mapping: EventSourceMapping, kind: Kind) -> EventSourceMapping:
    if len(mapping.filters) > MAX_FILTERS:
        raise invalid(f"Number of filters cannot exceed {MAX_FILTERS}.")
    age_s = mapping.max_record_age_s
    if age_s is not None and -1 < age_s < MIN_RECORD_AGE_S:
        raise invalid(
            f"MaximumRecordAgeInSeconds must be -1 or between {MIN_RECORD_AGE_S} and 604800."
        )
    kind.check(mapping)
    return mapping


def _refuse_unenforced(params: Params) -> None:
    for member in NOT_ENFORCED:
        value = params.get(member)
        if isinstance(value, Mapping):
            value = any(value.values())
        if value:
            raise invalid(f"{member} is not supported by this server: it could not be enforced.")


def _check_kafka_config(mapping: EventSourceMapping, params: Params) -> None:
    config = params.get("SelfManagedKafkaEventSourceConfig") or {}
    if config.get("SchemaRegistryConfig"):
        raise invalid(
            "SchemaRegistryConfig is not supported by this server: records are not validated."
        )
    if (group := config.get("ConsumerGroupId")) and group != mapping.consumer_group_id:
        raise invalid("ConsumerGroupId cannot be changed after the mapping was created.")


def _on_failure(given: Mapping[str, Any]) -> str | None:
    if (given.get("OnSuccess") or {}).get("Destination"):
        raise invalid("OnSuccess destinations are not supported for event source mappings.")
    arn: str | None = (given.get("OnFailure") or {}).get("Destination")
    return arn or None


def _starting_timestamp(params: Params, now: dt.datetime) -> dt.datetime | None:
    given: dt.datetime | None = params.get("StartingPositionTimestamp")
    by_time = params.get("StartingPosition") == "AT_TIMESTAMP"
    if by_time and given is None:
        raise invalid(
            "StartingPositionTimestamp is required when StartingPosition is AT_TIMESTAMP."
        )
    if given is not None and not by_time:
        raise invalid(
            "StartingPositionTimestamp is only valid when StartingPosition is AT_TIMESTAMP."
        )
    if given is not None and given > now:
        raise invalid("StartingPositionTimestamp cannot be in the future.")
    return given


# ---------------------------------------------------------------- as AWS describes it


def describe_mapping(mapping: EventSourceMapping) -> Result:
    """The EventSourceMappingConfiguration shape."""
    result: Result = {
        "UUID": mapping.uuid,
        "EventSourceMappingArn": mapping.arn,
        "EventSourceArn": mapping.source_arn,
        "FunctionArn": mapping.function_arn,
        "State": mapping.state.value,
        "StateTransitionReason": mapping.state_reason,
        "LastModified": mapping.last_modified,
        "LastProcessingResult": mapping.last_result,
        "StartingPosition": mapping.starting_position,
        "StartingPositionTimestamp": mapping.starting_timestamp,
        "FunctionResponseTypes": ["ReportBatchItemFailures"] if mapping.partial_failures else [],
        **{member: getattr(mapping, field) for member, field in _PLAIN.items()},
        **_describe_source(mapping),
    }
    if mapping.filters:
        filters = [{"Pattern": pattern} for pattern in mapping.filters]
        result["FilterCriteria"] = {"Filters": filters}
    if mapping.max_concurrency is not None:
        result["ScalingConfig"] = {"MaximumConcurrency": mapping.max_concurrency}
    if KINDS[mapping.kind].on_failure:
        told = {"Destination": mapping.on_failure_arn} if mapping.on_failure_arn else {}
        result["DestinationConfig"] = {"OnFailure": told}
    return {member: value for member, value in result.items() if value is not None}


def _describe_source(mapping: EventSourceMapping) -> Result:
    result: Result = {}
    if mapping.topics:
        result["Topics"] = list(mapping.topics)
    if mapping.queues:
        result["Queues"] = list(mapping.queues)
    if mapping.access:
        result["SourceAccessConfigurations"] = [
            {"Type": each.type, "URI": each.uri} for each in mapping.access
        ]
    if mapping.bootstrap_servers:
        servers = list(mapping.bootstrap_servers)
        result["SelfManagedEventSource"] = {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": servers}}
    if mapping.consumer_group_id:
        config = {"ConsumerGroupId": mapping.consumer_group_id}
        result["SelfManagedKafkaEventSourceConfig"] = config
    return result
