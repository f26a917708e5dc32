"""How many instances a version with a capacity provider has, at the least and at the most.

`$LATEST.PUBLISHED` is AWS's version that unqualified invocations of such functions go to, and that
is published anew from `$LATEST` as often as one likes. Here they go to `$LATEST` itself, as they do
of any function; so that name means `$LATEST`.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-scaling.html
"""

from __future__ import annotations

from collections.abc import Mapping

from samovar.frontend.auth import Caller
from samovar.frontend.names import parse_unqualified
from samovar.frontend.operations.configuration import invalid
from samovar.frontend.operations.control import Control, Handler, Params, Result
from samovar.model.function import LATEST, FunctionVersion
from samovar.model.scale import ScaleRule

LATEST_PUBLISHED = "$LATEST.PUBLISHED"


class FunctionScalingOperations:
    """The operations whose noun is the function's scaling configuration."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "PutFunctionScalingConfig": self.put,
            "GetFunctionScalingConfig": self.get,
        }

    async def put(self, caller: Caller, params: Params) -> Result:
        version = await self._version(caller, params)
        asked = params.get("FunctionScalingConfig") or {}
        least, most = asked.get("MinExecutionEnvironments"), asked.get("MaxExecutionEnvironments")
        if most == 0:
            raise invalid(
                "MaxExecutionEnvironments must be at least 1: this server does not deactivate "
                "versions. Set the function's reserved concurrency to 0 to stop it."
            )
        if least is not None and most is not None and least > most:
            raise invalid("MinExecutionEnvironments must not exceed MaxExecutionEnvironments.")
        scaling = self._control.scaling
        if least is None and most is None:
            await scaling.remove(version.id, version.version)
        else:
            now = self._control.now()
            await scaling.put(ScaleRule(version.id, version.version, now, None, least, most))
        return {"FunctionState": version.state.value}

    async def get(self, caller: Caller, params: Params) -> Result:
        version = await self._version(caller, params)
        scaling = self._control.scaling
        rule = await scaling.rules.get(version.id, version.version)
        applied = scaling.applied(version)
        result: Result = {
            "FunctionArn": version.id.qualified_arn(params["Qualifier"]),
            "AppliedFunctionScalingConfig": _config(applied.min_instances, applied.max_instances),
        }
        if rule is not None:
            asked = _config(rule.min_instances, rule.max_instances)
            result["RequestedFunctionScalingConfig"] = asked
        return result

    async def _version(self, caller: Caller, params: Params) -> FunctionVersion:
        function = parse_unqualified(params["FunctionName"], caller)
        wanted = params["Qualifier"]
        version = await self._control.store.get(
            function, LATEST if wanted == LATEST_PUBLISHED else wanted
        )
        if version.capacity_provider is None:
            raise invalid(
                "A scaling configuration is supported for functions with a capacity provider only. "
                "For others there is provisioned and reserved concurrency."
            )
        return version


def _config(least: int | None, most: int | None) -> Result:
    given = {"MinExecutionEnvironments": least, "MaxExecutionEnvironments": most}
    return {member: value for member, value in given.items() if value is not None}
