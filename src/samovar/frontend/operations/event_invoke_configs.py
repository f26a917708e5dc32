"""What applies to a function's asynchronous invocations: retries, age, destinations; loops.

https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html and its
siblings; https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import structs

from samovar.frontend.auth import Caller
from samovar.frontend.names import parse_function_name, parse_unqualified
from samovar.frontend.operations.configuration import invalid
from samovar.frontend.operations.control import Control, Handler, Params, Result
from samovar.frontend.operations.destinations import ON_FAILURE, ON_SUCCESS, check_destination
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import function_of_arn
from samovar.model.event_invoke_config import EventInvokeConfig
from samovar.model.function import LATEST, FunctionId

PAGE_SIZE = 50

_DESTINATIONS = (
    ("OnSuccess", "on_success_arn", ON_SUCCESS),
    ("OnFailure", "on_failure_arn", ON_FAILURE),
)


class EventInvokeConfigOperations:
    """The operations whose noun is the event invoke config, or the recursion config."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "PutFunctionEventInvokeConfig": self.put,
            "UpdateFunctionEventInvokeConfig": self.update,
            "GetFunctionEventInvokeConfig": self.get,
            "ListFunctionEventInvokeConfigs": self.list,
            "DeleteFunctionEventInvokeConfig": self.delete,
            "PutFunctionRecursionConfig": self.put_recursion,
            "GetFunctionRecursionConfig": self.get_recursion,
        }

    async def put(self, caller: Caller, params: Params) -> Result:
        """What is left out is removed."""
        function, qualifier = _named(params, caller)
        settings = await self._settings(caller, function, params)
        now = self._control.now()

        def change(_: EventInvokeConfig | None) -> EventInvokeConfig:
            return EventInvokeConfig(
                function=function, qualifier=qualifier, last_modified=now, **settings
            )

        return _describe(await self._change(function, qualifier, change))

    async def update(self, caller: Caller, params: Params) -> Result:
        """What is left out stays."""
        function, qualifier = _named(params, caller)
        settings = await self._settings(caller, function, params)
        now = self._control.now()

        def change(before: EventInvokeConfig | None) -> EventInvokeConfig:
            if before is None:
                raise _not_there(function, qualifier)
            return structs.replace(before, last_modified=now, **settings)

        return _describe(await self._change(function, qualifier, change))

    async def get(self, caller: Caller, params: Params) -> Result:
        function, qualifier = _named(params, caller)
        config = await self._control.rules.get(function, qualifier)
        if config is None:
            await self._control.store.record(function)
            raise _not_there(function, qualifier)
        return _describe(config)

    async def list(self, caller: Caller, params: Params) -> Result:
        page = await self._control.rules.list_configs(
            parse_unqualified(params["FunctionName"], caller),
            marker=params.get("Marker"),
            limit=min(params.get("MaxItems") or PAGE_SIZE, PAGE_SIZE),
        )
        configs = [_describe(config) for config in page.items]
        return {"FunctionEventInvokeConfigs": configs, "NextMarker": page.marker}

    async def delete(self, caller: Caller, params: Params) -> Result:
        function, qualifier = _named(params, caller)
        if not await self._control.rules.delete(function, qualifier):
            raise _not_there(function, qualifier)
        self._control.changed(function)
        return {}

    async def put_recursion(self, caller: Caller, params: Params) -> Result:
        function = parse_unqualified(params["FunctionName"], caller)
        await self._control.rules.allow_loops(function, params["RecursiveLoop"] == "Allow")
        return {"RecursiveLoop": params["RecursiveLoop"]}

    async def get_recursion(self, caller: Caller, params: Params) -> Result:
        allowed = await self._control.rules.loops_allowed(
            parse_unqualified(params["FunctionName"], caller)
        )
        return {"RecursiveLoop": "Allow" if allowed else "Terminate"}

    # ------------------------------------------------------------ inside

    async def _change(
        self,
        function: FunctionId,
        qualifier: str,
        change: Callable[[EventInvokeConfig | None], EventInvokeConfig],
    ) -> EventInvokeConfig:
        config = await self._control.rules.change(function, qualifier, change)
        self._control.changed(function)
        return config

    async def _settings(
        self, caller: Caller, function: FunctionId, params: Params
    ) -> dict[str, Any]:
        """The fields that a request gives. Raises INVALID_PARAMETER."""
        settings: dict[str, Any] = {}
        for member, field in (
            ("MaximumRetryAttempts", "max_retries"),
            ("MaximumEventAgeInSeconds", "max_age_s"),
        ):
            if params.get(member) is not None:
                settings[field] = params[member]
        for member, field, services in _DESTINATIONS:
            given = (params.get("DestinationConfig") or {}).get(member)
            if given is None:
                continue
            arn = given.get("Destination") or None
            if arn is not None:
                await check_destination(self._control, caller, arn, services)
                if (named := function_of_arn(arn)) is not None and named[0] == function:
                    raise invalid("You can't specify the function as a destination for itself.")
            settings[field] = arn
        if not settings and params.get("DestinationConfig") is None:
            raise invalid("You must specify at least one of error handling or destination setting.")
        return settings


def _named(params: Params, caller: Caller) -> tuple[FunctionId, str]:
    function, qualifier = parse_function_name(
        params["FunctionName"], caller, params.get("Qualifier")
    )
    return function, qualifier or LATEST


def _not_there(function: FunctionId, qualifier: str) -> PlatformError:
    return PlatformError(
        ErrorCode.NOT_FOUND,
        f"The function {function.qualified_arn(qualifier)} doesn't have an EventInvokeConfig",
    )


def _describe(config: EventInvokeConfig) -> Result:
    """The FunctionEventInvokeConfig shape."""
    result: Result = {
        "LastModified": config.last_modified,
        "FunctionArn": config.function.qualified_arn(config.qualifier),
        "MaximumRetryAttempts": config.max_retries,
        "MaximumEventAgeInSeconds": config.max_age_s,
        "DestinationConfig": {
            member: {"Destination": arn} if (arn := getattr(config, field)) else {}
            for member, field, _ in _DESTINATIONS
        },
    }
    return {member: value for member, value in result.items() if value is not None}
