"""Provisioned concurrency: instances that are initialised before anybody asks for them.

https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
"""

from __future__ import annotations

from collections.abc import Mapping

from samovar.frontend.auth import Caller
from samovar.frontend.names import parse_function_name
from samovar.frontend.operations.configuration import aws_time, invalid
from samovar.frontend.operations.control import Control, Handler, Params, Result
from samovar.frontend.scales import UNPUBLISHED
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST, FunctionId
from samovar.model.scale import ScaleRule

PAGE_SIZE = 50
MOST = 2**31 - 1
"""What the stores hold; the limits are far below."""


class ProvisionedConcurrencyOperations:
    """The operations whose noun is the provisioned concurrency configuration."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "PutProvisionedConcurrencyConfig": self.put,
            "GetProvisionedConcurrencyConfig": self.get,
            "DeleteProvisionedConcurrencyConfig": self.delete,
            "ListProvisionedConcurrencyConfigs": self.list,
        }

    async def put(self, caller: Caller, params: Params) -> Result:
        control = self._control
        function, qualifier = _named(params, caller)
        wanted = min(params["ProvisionedConcurrentExecutions"], MOST)
        version = await control.catalog.read_primary(function, qualifier)
        await control.deployments.ready(version)
        rule = ScaleRule(function, qualifier, control.now(), wanted)
        await control.scaling.put(rule)
        return await self._describe(rule)

    async def get(self, caller: Caller, params: Params) -> Result:
        function, qualifier = _named(params, caller)
        await self._control.catalog.read_primary(function, qualifier)  # NOT_FOUND
        rule = await self._control.scaling.rules.get(function, qualifier)
        if rule is None or rule.provisioned is None:
            raise PlatformError(
                ErrorCode.NO_PROVISIONED_CONFIG,
                "No Provisioned Concurrency Config found for this function",
            )
        return await self._describe(rule)

    async def delete(self, caller: Caller, params: Params) -> Result:
        function, qualifier = _named(params, caller)
        rules = self._control.scaling.rules
        rule = await rules.get(function, qualifier)
        if rule is None or rule.provisioned is not None:  # one that bounds instances stays
            await self._control.scaling.remove(function, qualifier)
        return {}

    async def list(self, caller: Caller, params: Params) -> Result:
        function, _ = parse_function_name(params["FunctionName"], caller)
        page = await self._control.scaling.rules.list_provisioned(
            function,
            marker=params.get("Marker"),
            limit=min(params.get("MaxItems") or PAGE_SIZE, PAGE_SIZE),
        )
        items = []
        for rule in page.items:
            described = await self._describe(rule)
            items.append({"FunctionArn": function.qualified_arn(rule.qualifier), **described})
        return {"ProvisionedConcurrencyConfigs": items, "NextMarker": page.marker}

    async def _describe(self, rule: ScaleRule) -> Result:
        progress = await self._control.scaling.progress(rule)
        result: Result = {
            "RequestedProvisionedConcurrentExecutions": progress.requested,
            "AllocatedProvisionedConcurrentExecutions": progress.allocated,
            "AvailableProvisionedConcurrentExecutions": progress.available,
            "Status": progress.status.value,
            "LastModified": aws_time(rule.last_modified),
        }
        if progress.reason is not None:
            result["StatusReason"] = progress.reason
        return result


def _named(params: Params, caller: Caller) -> tuple[FunctionId, str]:
    function, qualifier = parse_function_name(
        params["FunctionName"], caller, params.get("Qualifier")
    )
    if not qualifier or qualifier.startswith(LATEST):
        raise invalid(UNPUBLISHED)
    return function, qualifier
