"""Event source mappings: what brings the records of a queue or a stream to a function.

https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html and its siblings.
What an operation acknowledges, the events role then does: see `model/event_source.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from msgspec import structs

from samovar.frontend.auth import Caller
from samovar.frontend.names import parse_function_name
from samovar.frontend.operations.configuration import invalid
from samovar.frontend.operations.control import Control, Handler, Params, Result
from samovar.frontend.operations.destinations import check_destination
from samovar.frontend.operations.event_source_settings import (
    describe_mapping,
    new_mapping,
    updated_mapping,
)
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_source import EventSourceMapping, MappingState, begin
from samovar.model.function import LATEST

PAGE_SIZE = 100

DESTINATIONS = ("sqs", "sns", "s3")
"""Services that may be told of records that failed."""


class EventSourceOperations:
    """The operations whose noun is the event source mapping."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "CreateEventSourceMapping": self.create,
            "GetEventSourceMapping": self.get,
            "UpdateEventSourceMapping": self.update,
            "DeleteEventSourceMapping": self.delete,
            "ListEventSourceMappings": self.list,
        }

    async def create(self, caller: Caller, params: Params) -> Result:
        control = self._control
        function, qualifier = parse_function_name(params["FunctionName"], caller)
        mapping = new_mapping(params, str(uuid.uuid4()), function, qualifier, control.now())
        await self._check(caller, mapping)
        await control.event_sources.create(mapping)
        control.sources.changed()
        return describe_mapping(mapping)

    async def get(self, caller: Caller, params: Params) -> Result:
        return describe_mapping(await self._find(caller, params))

    async def list(self, caller: Caller, params: Params) -> Result:
        function = qualifier = None
        if params.get("FunctionName"):
            function, qualifier = parse_function_name(params["FunctionName"], caller)
        page = await self._control.event_sources.list_mappings(
            caller.account,
            caller.region,
            source_arn=params.get("EventSourceArn"),
            function=function,
            qualifier=qualifier,
            marker=params.get("Marker"),
            limit=min(params.get("MaxItems") or PAGE_SIZE, PAGE_SIZE),
        )
        mappings = [describe_mapping(mapping) for mapping in page.items]
        return {"EventSourceMappings": mappings, "NextMarker": page.marker}

    async def update(self, caller: Caller, params: Params) -> Result:
        control = self._control
        before = await self._find(caller, params)
        function, qualifier = before.function, before.qualifier
        if params.get("FunctionName"):
            function, qualifier = parse_function_name(params["FunctionName"], caller)

        def change(mapping: EventSourceMapping) -> EventSourceMapping:
            changed = updated_mapping(mapping, params, function, qualifier, control.now())
            state = MappingState.UPDATING
            if changed.enabled is not mapping.enabled:
                state = MappingState.ENABLING if changed.enabled else MappingState.DISABLING
            return begin(changed, state, "update")

        await self._check(caller, change(before))
        mapping = await control.event_sources.change(before.uuid, change)
        control.sources.changed()
        return describe_mapping(mapping)

    async def delete(self, caller: Caller, params: Params) -> Result:
        control = self._control
        before = await self._find(caller, params)

        def change(mapping: EventSourceMapping) -> EventSourceMapping:
            deleting = begin(mapping, MappingState.DELETING, "delete")
            return structs.replace(deleting, last_modified=control.now())

        mapping = await control.event_sources.change(before.uuid, change)
        control.sources.changed()
        return describe_mapping(mapping)

    # ------------------------------------------------------------ inside

    async def _find(self, caller: Caller, params: Params) -> EventSourceMapping:
        """The caller's own. NOT_FOUND."""
        mapping = await self._control.event_sources.get(params["UUID"])
        account, region, _ = mapping.function
        if (account, region) != (caller.account, caller.region):
            raise PlatformError(ErrorCode.NOT_FOUND, "The resource you requested does not exist.")
        return mapping

    async def _check(self, caller: Caller, mapping: EventSourceMapping) -> None:
        """Its function is there, its destination can be told, and its source can be polled."""
        control = self._control
        version = await control.catalog.read_primary(mapping.function, mapping.qualifier or LATEST)
        if version.tenant_isolation:
            raise invalid(
                "Event source mappings are not supported for functions with tenant isolation."
            )
        if mapping.on_failure_arn is not None:
            await check_destination(control, caller, mapping.on_failure_arn, DESTINATIONS)
        await control.sources.check(mapping, version)
