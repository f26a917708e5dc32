"""Aliases: a name for a version, or for two with weights.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-aliases.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from samovar.frontend.auth import Caller
from samovar.frontend.names import parse_function_name
from samovar.frontend.operations.configuration import invalid
from samovar.frontend.operations.control import Control, Handler, Params, Result
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST, Alias, FunctionId, FunctionVersion

PAGE_SIZE = 50


class AliasOperations:
    """The operations whose noun is the alias."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "CreateAlias": self.create,
            "GetAlias": self.get,
            "ListAliases": self.list,
            "UpdateAlias": self.update,
            "DeleteAlias": self.delete,
        }

    async def create(self, caller: Caller, params: Params) -> Result:
        function, _ = parse_function_name(params["FunctionName"], caller)
        alias = Alias(
            id=function,
            name=params["Name"],
            version=params["FunctionVersion"],
            revision_id=self._control.new_revision(),
            description=params.get("Description") or "",
            routing=_routing(params) or {},
        )
        _check_routing(alias)
        await self._check_versions(alias)
        await self._control.store.create_alias(alias)
        self._control.changed(function)
        return describe_alias(alias)

    async def get(self, caller: Caller, params: Params) -> Result:
        function, _ = parse_function_name(params["FunctionName"], caller)
        return describe_alias(await self._control.store.get_alias(function, params["Name"]))

    async def list(self, caller: Caller, params: Params) -> Result:
        function, _ = parse_function_name(params["FunctionName"], caller)
        page = await self._control.store.list_aliases(
            function,
            version=params.get("FunctionVersion"),
            marker=params.get("Marker"),
            limit=min(params.get("MaxItems") or PAGE_SIZE, PAGE_SIZE),
        )
        return {
            "Aliases": [describe_alias(alias) for alias in page.items],
            "NextMarker": page.marker,
        }

    async def update(self, caller: Caller, params: Params) -> Result:
        function, _ = parse_function_name(params["FunctionName"], caller)
        async with self._control.scaling.turn:
            return await self._update(function, params)

    async def _update(self, function: FunctionId, params: Params) -> Result:
        old = await self._control.store.get_alias(function, params["Name"])
        wanted = params.get("RevisionId")
        if wanted and wanted != old.revision_id:
            raise PlatformError(
                ErrorCode.PRECONDITION_FAILED,
                "The Revision Id provided does not match the latest Revision Id. Call the "
                "GetFunction/GetAlias API to retrieve the latest Revision Id",
            )
        routing = _routing(params)
        alias = replace(
            old,
            revision_id=self._control.new_revision(),
            version=params.get("FunctionVersion") or old.version,
            description=old.description
            if params.get("Description") is None
            else params["Description"],
            routing=old.routing if routing is None else routing,
        )
        _check_routing(alias)
        versions = await self._check_versions(alias)
        await self._control.scaling.check_alias(alias, versions)
        await self._control.store.replace_alias(alias, expected_revision_id=old.revision_id)
        self._control.changed(function)
        await self._control.scaling.follow_in_turn(function)
        return describe_alias(alias)

    async def delete(self, caller: Caller, params: Params) -> Result:
        function, _ = parse_function_name(params["FunctionName"], caller)
        await self._control.store.delete_alias(function, params["Name"])
        self._control.changed(function)
        await self._control.scaling.follow(function)
        return {}

    async def _check_versions(self, alias: Alias) -> Sequence[FunctionVersion]:
        numbers = (alias.version, *alias.routing)
        return [await self._control.store.get(alias.id, number) for number in numbers]


def describe_alias(alias: Alias) -> Result:
    """The AliasConfiguration shape."""
    result: Result = {
        "AliasArn": alias.id.qualified_arn(alias.name),
        "Name": alias.name,
        "FunctionVersion": alias.version,
        "Description": alias.description,
        "RevisionId": alias.revision_id,
    }
    if alias.routing:
        result["RoutingConfig"] = {"AdditionalVersionWeights": dict(alias.routing)}
    return result


def _routing(params: Params) -> dict[str, float] | None:
    given = params.get("RoutingConfig")
    if given is None:
        return None
    return {
        version: float(weight)
        for version, weight in (given.get("AdditionalVersionWeights") or {}).items()
    }


def _check_routing(alias: Alias) -> None:
    if not alias.routing:
        return
    if len(alias.routing) > 1:
        raise invalid("Number of items in AdditionalVersionWeights cannot be greater than 1.")
    if LATEST in (alias.version, *alias.routing):
        raise invalid("$LATEST is not supported for an alias pointing to more than 1 version")
    if alias.version in alias.routing:
        raise invalid(
            f"Invalid function version {alias.version}. Function version {alias.version} is "
            "already included in routing configuration."
        )
    for weight in alias.routing.values():
        if not 0.0 <= weight <= 1.0:
            raise invalid("Value of weight must be between 0.0 and 1.0.")
