"""Tags of functions.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-tags.html
"""

from __future__ import annotations

from collections.abc import Mapping

from samovar.frontend.auth import Caller
from samovar.frontend.function_tags import check_tags
from samovar.frontend.names import parse_function_name
from samovar.frontend.operations.configuration import invalid
from samovar.frontend.operations.control import Control, Handler, Params, Result
from samovar.model.function import FunctionId


class TagOperations:
    """The operations whose noun is the tag."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "TagResource": self.tag,
            "UntagResource": self.untag,
            "ListTags": self.list,
        }

    async def tag(self, caller: Caller, params: Params) -> Result:
        more: Mapping[str, str] = params["Tags"]

        def change(tags: Mapping[str, str]) -> Mapping[str, str]:
            changed = {**tags, **more}
            check_tags(changed)
            return changed

        await self._control.tags.change(_function(caller, params), change)
        return {}

    async def untag(self, caller: Caller, params: Params) -> Result:
        gone = frozenset(params["TagKeys"])
        await self._control.tags.change(
            _function(caller, params),
            lambda tags: {key: value for key, value in tags.items() if key not in gone},
        )
        return {}

    async def list(self, caller: Caller, params: Params) -> Result:
        return {"Tags": dict(await self._control.tags.get(_function(caller, params)))}


def _function(caller: Caller, params: Params) -> FunctionId:
    """The function that an ARN names. Raises INVALID_PARAMETER for what else there is."""
    arn: str = params["Resource"]
    kind = arn.split(":")[5]
    if kind != "function":
        raise invalid(f"Tags of a {kind} are not supported by this server: those of functions are.")
    function, qualifier = parse_function_name(arn, caller)
    if qualifier is not None:
        raise invalid(
            "Tags on function aliases and versions are not supported. Please specify either a "
            "function name or an unqualified function ARN."
        )
    return function
