"""Capacity providers: what functions with many requests at once in an instance run on.

The machines of a server are its one capacity provider. It is there as long as the server is, so
none is made, changed or deleted through the API.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-capacity-providers.html
"""

from __future__ import annotations

from collections.abc import Mapping

from samovar.frontend.auth import Caller
from samovar.frontend.operations.configuration import invalid
from samovar.frontend.operations.control import Control, Handler, Params, Result
from samovar.frontend.operations.instances import PROVIDER_NAME, provider_arn
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST

PAGE_SIZE = 50


class CapacityProviderOperations:
    """The operations whose noun is the capacity provider."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "CreateCapacityProvider": self.create,
            "GetCapacityProvider": self.get,
            "ListCapacityProviders": self.list,
            "ListFunctionVersionsByCapacityProvider": self.list_versions,
            "UpdateCapacityProvider": self.change,
            "DeleteCapacityProvider": self.change,
        }

    async def create(self, caller: Caller, params: Params) -> Result:
        if _is_ours(caller, params["CapacityProviderName"]):
            raise PlatformError(
                ErrorCode.CONFLICT, f"Capacity provider already exists: {_arn(caller)}"
            )
        raise PlatformError(
            ErrorCode.CAPACITY_PROVIDER_LIMIT,
            f"This server has one capacity provider, {_arn(caller)}: its machines. Use that one.",
        )

    async def get(self, caller: Caller, params: Params) -> Result:
        _check_name(caller, params)
        return {"CapacityProvider": self._describe(caller)}

    async def list(self, caller: Caller, params: Params) -> Result:
        ours = self._describe(caller)
        matches = params.get("State") in (None, ours["State"])
        return {"CapacityProviders": [ours] if matches else []}

    async def list_versions(self, caller: Caller, params: Params) -> Result:
        _check_name(caller, params)
        page = await self._control.scaling.rules.list_versions_of(
            _arn(caller),
            marker=params.get("Marker"),
            limit=min(params.get("MaxItems") or PAGE_SIZE, PAGE_SIZE),
        )
        return {
            "CapacityProviderArn": _arn(caller),
            "FunctionVersions": [
                {
                    "FunctionArn": version.id.arn if version.version == LATEST else version.arn,
                    "State": version.state.value,
                }
                for version in page.items
            ],
            "NextMarker": page.marker,
        }

    async def change(self, caller: Caller, params: Params) -> Result:
        _check_name(caller, params)
        raise invalid(
            f"The capacity provider {_arn(caller)} is the machines of this server: it cannot be "
            "changed or deleted."
        )

    def _describe(self, caller: Caller) -> Result:
        """Its machines are in no network and need no role of AWS's: those members are empty, or
        name nobody."""
        role = f"arn:aws:iam::{caller.account}:role/samovar"
        return {
            "CapacityProviderArn": _arn(caller),
            "State": "Active",
            "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []},
            "PermissionsConfig": {"CapacityProviderOperatorRoleArn": role},
            "InstanceRequirements": {"Architectures": [self._control.architecture]},
        }


def _arn(caller: Caller) -> str:
    return provider_arn(caller.account, caller.region)


def _is_ours(caller: Caller, name: str) -> bool:
    return name in (PROVIDER_NAME, _arn(caller))


def _check_name(caller: Caller, params: Params) -> None:
    name = params["CapacityProviderName"]
    if not _is_ours(caller, name):
        raise PlatformError(ErrorCode.NOT_FOUND, f"Capacity provider not found: {name}")
