"""Publish and list versions.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-versions.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from samovar.frontend.auth import Caller
from samovar.frontend.names import parse_function_name
from samovar.frontend.operations.configuration import (
    code_sha256,
    describe,
    describe_in_list,
    invalid,
)
from samovar.frontend.operations.control import Control, Handler, Params, Result
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST, FunctionId, FunctionVersion, State, UpdateStatus

PAGE_SIZE = 50


class VersionOperations:
    """The operations whose noun is the version."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "PublishVersion": self.publish,
            "ListVersionsByFunction": self.list,
        }

    async def publish(self, caller: Caller, params: Params) -> Result:
        function, _ = parse_function_name(params["FunctionName"], caller)
        version = await publish_version(
            self._control,
            function,
            description=params.get("Description"),
            code_sha256_wanted=params.get("CodeSha256"),
            revision_wanted=params.get("RevisionId"),
        )
        return describe(version, qualified=True)

    async def list(self, caller: Caller, params: Params) -> Result:
        function, _ = parse_function_name(params["FunctionName"], caller)
        page = await self._control.store.list_versions(
            function,
            marker=params.get("Marker"),
            limit=min(params.get("MaxItems") or PAGE_SIZE, PAGE_SIZE),
        )
        items = [describe_in_list(version, qualified=True) for version in page.items]
        return {"Versions": items, "NextMarker": page.marker}


async def publish_version(
    control: Control,
    function: FunctionId,
    *,
    description: str | None = None,
    code_sha256_wanted: str | None = None,
    revision_wanted: str | None = None,
) -> FunctionVersion:
    """Make the next numbered version of $LATEST, or return the newest if nothing has changed.

    It is made when $LATEST is ready, so that a published version has code that could be prepared.
    """
    await control.deployments.ready(await control.store.get(function, LATEST))

    def build(
        latest: FunctionVersion, newest: FunctionVersion | None, number: int
    ) -> FunctionVersion:
        current = code_sha256(latest.code)
        if code_sha256_wanted and code_sha256_wanted != current:
            raise invalid(
                f"CodeSHA256 ({code_sha256_wanted}) is different from current CodeSHA256 in "
                f"$LATEST ({current}). Please try again with the CodeSHA256 in $LATEST."
            )
        if revision_wanted and revision_wanted != latest.revision_id:
            raise PlatformError(
                ErrorCode.PRECONDITION_FAILED,
                "The RevisionId provided does not match the latest RevisionId. Call the "
                "GetFunction/GetAlias API to retrieve the latest RevisionId.",
            )
        published = replace(
            latest,
            version=str(number),
            revision_id=control.new_revision(),
            description=latest.description if description is None else description,
            last_modified=control.now(),
            **_BEING_MADE if latest.snap_start else _MADE,
            last_update_status=UpdateStatus.SUCCESSFUL,
            last_update_reason=None,
            last_update_reason_code=None,
        )
        if newest is not None and _same(newest, published):
            return newest
        return published

    version = await control.store.publish(function, build)
    control.changed(function)
    if version.state is State.PENDING:
        control.deployments.begin(version)
    return version


_MADE: Mapping[str, Any] = {
    "state": State.ACTIVE,
    "state_reason": None,
    "state_reason_code": None,
}
_BEING_MADE: Mapping[str, Any] = {
    "state": State.PENDING,
    "state_reason": "The function is being created.",
    "state_reason_code": "Creating",
}
"""Of a version that begins from a snapshot: that is taken first."""


def _same(newest: FunctionVersion, published: FunctionVersion) -> bool:
    """Whether code and configuration are alike (AWS does not compare descriptions). One that has
    failed is like none: publishing it again tries again."""
    return newest.state is not State.FAILED and newest == replace(
        published,
        version=newest.version,
        revision_id=newest.revision_id,
        description=newest.description,
        last_modified=newest.last_modified,
        state=newest.state,
        state_reason=newest.state_reason,
        state_reason_code=newest.state_reason_code,
    )
