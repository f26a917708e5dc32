"""Publish, read, list and delete layers.

https://docs.aws.amazon.com/lambda/latest/api/API_PublishLayerVersion.html and its siblings.
"""

from __future__ import annotations

from collections.abc import Mapping

from samovar.frontend.auth import Caller
from samovar.frontend.layer_names import (
    MAX_NUMBER,
    not_there,
    parse_layer_name,
    parse_layer_version_arn,
)
from samovar.frontend.operations.configuration import aws_time, code_sha256, invalid
from samovar.frontend.operations.control import Control, Handler, Params, Result
from samovar.frontend.operations.function_layers import check_access, denied
from samovar.frontend.operations.packages import package_url, store_package
from samovar.model.layer import LayerId, LayerVersion
from samovar.ports import MadeFor

PAGE_SIZE = 50


class LayerOperations:
    """The operations whose noun is the layer or its version."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "PublishLayerVersion": self.publish,
            "GetLayerVersion": self.get,
            "GetLayerVersionByArn": self.get_by_arn,
            "ListLayerVersions": self.list_versions,
            "ListLayers": self.list,
            "DeleteLayerVersion": self.delete,
        }

    async def publish(self, caller: Caller, params: Params) -> Result:
        control = self._control
        layer = parse_layer_name(params["LayerName"], caller)
        _only_own(caller, layer, "PublishLayerVersion")
        code = await store_package(
            control, "PublishLayerVersion", params["Content"], noun="layer version content"
        )
        published = await control.layers.publish(
            layer,
            lambda number: LayerVersion(
                id=layer,
                number=number,
                code=code,
                created=control.now(),
                description=params.get("Description") or "",
                license_info=params.get("LicenseInfo") or "",
                runtimes=tuple(params.get("CompatibleRuntimes") or ()),
                architectures=tuple(params.get("CompatibleArchitectures") or ()),
            ),
        )
        return self._describe_whole(published)

    async def get(self, caller: Caller, params: Params) -> Result:
        layer, number = named_version(params, caller)
        return await self._get(caller, layer, number)

    async def get_by_arn(self, caller: Caller, params: Params) -> Result:
        named = parse_layer_version_arn(params["Arn"])
        if named is None:
            raise not_there()
        return await self._get(caller, *named)

    async def list_versions(self, caller: Caller, params: Params) -> Result:
        layer = parse_layer_name(params["LayerName"], caller)
        _only_own(caller, layer, "ListLayerVersions")
        page = await self._control.layers.list_versions(
            layer, _made_for(params), marker=params.get("Marker"), limit=_limit(params)
        )
        versions = [_describe(version) for version in page.items]
        return {"LayerVersions": versions, "NextMarker": page.marker}

    async def list(self, caller: Caller, params: Params) -> Result:
        page = await self._control.layers.list_layers(
            caller.account,
            caller.region,
            _made_for(params),
            marker=params.get("Marker"),
            limit=_limit(params),
        )
        layers = [
            {
                "LayerName": version.id.name,
                "LayerArn": version.id.arn,
                "LatestMatchingVersion": _describe(version),
            }
            for version in page.items
        ]
        return {"Layers": layers, "NextMarker": page.marker}

    async def delete(self, caller: Caller, params: Params) -> Result:
        """Functions that use it go on: they refer to its package themselves."""
        layer, number = named_version(params, caller)
        await check_access(self._control, caller, layer, number, "DeleteLayerVersion")
        await self._control.layers.delete(layer, number)
        return {}

    # ------------------------------------------------------------ inside

    async def _get(self, caller: Caller, layer: LayerId, number: int) -> Result:
        await check_access(self._control, caller, layer, number)
        if layer.region != caller.region:
            raise not_there()
        return self._describe_whole(await self._control.layers.get(layer, number))

    def _describe_whole(self, version: LayerVersion) -> Result:
        code = version.code
        return _describe(version) | {
            "LayerArn": version.id.arn,
            "Content": {
                "Location": package_url(self._control, code),
                "CodeSha256": code_sha256(code),
                "CodeSize": code.size_bytes,
            },
        }


def named_version(params: Params, caller: Caller) -> tuple[LayerId, int]:
    """The layer version that a request names. Raises INVALID_PARAMETER, NOT_FOUND."""
    layer, number = parse_layer_name(params["LayerName"], caller), params["VersionNumber"]
    if number < 1:
        raise invalid("Layer Version Cannot be less than 1.")
    if number > MAX_NUMBER:
        raise not_there()
    return layer, number


def _describe(version: LayerVersion) -> Result:
    """The LayerVersionsListItem shape."""
    result: Result = {
        "LayerVersionArn": version.arn,
        "Version": version.number,
        "Description": version.description,
        "CreatedDate": aws_time(version.created),
    }
    if version.runtimes:
        result["CompatibleRuntimes"] = list(version.runtimes)
    if version.architectures:
        result["CompatibleArchitectures"] = list(version.architectures)
    if version.license_info:
        result["LicenseInfo"] = version.license_info
    return result


def _only_own(caller: Caller, layer: LayerId, action: str) -> None:
    if layer.account != caller.account:
        raise denied(caller, action, layer.arn)
    if layer.region != caller.region:
        raise not_there()


def _made_for(params: Params) -> MadeFor:
    return MadeFor(params.get("CompatibleRuntime"), params.get("CompatibleArchitecture"))


def _limit(params: Params) -> int:
    return min(params.get("MaxItems") or PAGE_SIZE, PAGE_SIZE)
