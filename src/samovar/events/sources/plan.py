"""Which pollers should run, compared with those that do. Pure: the reconciler performs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from samovar.model.event_source import SETTLED, EventSourceMapping, MappingState


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in this order."""

    stop: Sequence[str]
    """UUIDs of pollers that are to end; their mappings wait for that."""
    start: Sequence[EventSourceMapping]
    settle: Sequence[str]
    """Mappings that are as their owners asked for, once the starts are done."""
    remove: Sequence[str]
    """Mappings whose poller has ended for good."""


def plan(mappings: Sequence[EventSourceMapping], running: Mapping[str, int]) -> Plan:
    """`running`: of each poller that runs, or has not ended yet, the UUID and the revision."""
    stop, start, settle, remove = [], [], [], []
    for mapping in mappings:
        uuid, wanted = mapping.uuid, _should_run(mapping)
        if uuid in running and (not wanted or running[uuid] != mapping.revision):
            stop.append(uuid)
        elif mapping.state is MappingState.DELETING:
            remove.append(uuid)
        else:
            if wanted and uuid not in running:
                start.append(mapping)
            if mapping.state not in SETTLED:
                settle.append(uuid)
    known = {mapping.uuid for mapping in mappings}
    return Plan([*stop, *(uuid for uuid in running if uuid not in known)], start, settle, remove)


def _should_run(mapping: EventSourceMapping) -> bool:
    return mapping.enabled and mapping.state is not MappingState.DELETING
