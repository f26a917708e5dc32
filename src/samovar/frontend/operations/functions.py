"""Create, read, change and delete functions.

https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html and its siblings.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace

from samovar.frontend.auth import Caller
from samovar.frontend.function_tags import check_tags
from samovar.frontend.names import parse_function_name
from samovar.frontend.operations.configuration import (
    apply_settings,
    describe,
    describe_in_list,
    invalid,
    is_latest,
    refuse_unsupported,
)
from samovar.frontend.operations.control import Control, Handler, Params, Result
from samovar.frontend.operations.destinations import check_dead_letter
from samovar.frontend.operations.function_layers import find_layers, with_layers
from samovar.frontend.operations.packages import package_url, store_package
from samovar.frontend.operations.versions import publish_version
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import (
    LATEST,
    CodeRef,
    FunctionId,
    FunctionVersion,
    State,
    UpdateStatus,
)

REPLACE_ATTEMPTS = 5
PAGE_SIZE = 50

Change = Callable[[FunctionVersion], Awaitable[FunctionVersion]]


class FunctionOperations:
    """The operations whose noun is the function."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "CreateFunction": self.create,
            "GetFunction": self.get,
            "GetFunctionConfiguration": self.get_configuration,
            "ListFunctions": self.list,
            "UpdateFunctionCode": self.update_code,
            "UpdateFunctionConfiguration": self.update_configuration,
            "DeleteFunction": self.delete,
        }

    async def create(self, caller: Caller, params: Params) -> Result:
        control = self._control
        function, qualifier = parse_function_name(params["FunctionName"], caller)
        if qualifier is not None:
            raise invalid("A function's name cannot have a qualifier when it is created.")
        refuse_unsupported(params)
        tags = params.get("Tags") or {}
        check_tags(tags)
        await check_dead_letter(control, caller, params)
        for member in ("Runtime", "Handler"):
            if not params.get(member):
                raise invalid(
                    "Runtime and Handler are mandatory parameters for functions created with "
                    "deployment packages."
                )
        blank = FunctionVersion(
            id=function,
            version=LATEST,
            revision_id=control.new_revision(),
            runtime="",
            handler="",
            role="",
            code=CodeRef("", 0),
            last_modified=control.now(),
            architecture=control.architecture,
            state_reason="The function is being created.",
            state_reason_code="Creating",
        )
        latest = apply_settings(blank, params, *control.machine)
        layers = await find_layers(control, caller, params.get("Layers") or ())
        code = await store_package(control, "CreateFunction", params["Code"], noun="function code")
        latest = await with_layers(control, replace(latest, code=code), layers)
        await control.store.create(latest, tags)
        control.changed(function)
        if tags:
            await control.tags.follow(function)
        control.deployments.begin(latest)
        if params.get("Publish"):
            published = await publish_version(control, function)
            return describe(published, qualified=True)
        return describe(latest, qualified=False)

    async def get(self, caller: Caller, params: Params) -> Result:
        function, qualifier = _named(params, caller)
        version = await self._read(function, qualifier)
        record = await self._control.store.record(function)
        url = package_url(self._control, version.code)
        result: Result = {
            "Configuration": describe(version, qualified=qualifier is not None),
            "Code": {"RepositoryType": "S3", "Location": url},
        }
        if record.tags:
            result["Tags"] = dict(record.tags)
        if record.reserved_concurrency is not None:
            result["Concurrency"] = {"ReservedConcurrentExecutions": record.reserved_concurrency}
        return result

    async def get_configuration(self, caller: Caller, params: Params) -> Result:
        function, qualifier = _named(params, caller)
        version = await self._read(function, qualifier)
        return describe(version, qualified=qualifier is not None)

    async def list(self, caller: Caller, params: Params) -> Result:
        every = params.get("FunctionVersion") == "ALL"
        page = await self._control.store.list_functions(
            caller.account,
            caller.region,
            all_versions=every,
            marker=params.get("Marker"),
            limit=min(params.get("MaxItems") or PAGE_SIZE, PAGE_SIZE),
        )
        items = [describe_in_list(version, qualified=every) for version in page.items]
        return {"Functions": items, "NextMarker": page.marker}

    async def update_code(self, caller: Caller, params: Params) -> Result:
        function, qualifier = _named(params, caller)
        _only_latest(qualifier)
        latest = await self._control.store.get(function, LATEST)
        _check_revision(latest, params)
        keep = not params.get("DryRun")
        code = await store_package(
            self._control, "UpdateFunctionCode", params, noun="function code", keep=keep
        )
        architecture = {"Architectures": params.get("Architectures")}

        async def change(old: FunctionVersion) -> FunctionVersion:
            settings = apply_settings(old, architecture, *self._control.machine)
            changed = replace(settings, code=code)
            return await with_layers(self._control, changed, changed.layers)

        if params.get("DryRun"):
            return describe(await change(latest), qualified=False)
        return await self._update(function, params, change)

    async def update_configuration(self, caller: Caller, params: Params) -> Result:
        function, qualifier = _named(params, caller)
        _only_latest(qualifier)
        control = self._control
        await check_dead_letter(control, caller, params)
        wanted = params.get("Layers")
        layers = None if wanted is None else await find_layers(control, caller, wanted)

        async def change(old: FunctionVersion) -> FunctionVersion:
            changed = apply_settings(old, params, *control.machine)
            return changed if layers is None else await with_layers(control, changed, layers)

        return await self._update(function, params, change)

    async def delete(self, caller: Caller, params: Params) -> Result:
        control = self._control
        function, qualifier = _named(params, caller)
        if qualifier == LATEST:
            raise invalid("$LATEST version cannot be deleted without deleting the function.")
        if qualifier is not None:
            if not qualifier.isdigit():
                raise invalid("Deletion of aliases is not currently supported.")
            await control.store.delete_version(function, qualifier)
            control.changed(function)
            await control.scaling.follow(function)
            control.manager.supersede(function, qualifier, None)
            return {"StatusCode": 204}
        versions = [version.version async for version in _versions(control, function)]
        await control.store.delete_function(function)
        control.changed(function)
        await control.scaling.follow(function)
        await control.tags.follow(function)
        for version in versions:
            control.manager.supersede(function, version, None)
        control.manager.set_reserved_concurrency(function, None)
        await asyncio.to_thread(control.logs.delete, function)
        return {"StatusCode": 204}

    # ------------------------------------------------------------ inside

    async def _read(self, function: FunctionId, qualifier: str | None) -> FunctionVersion:
        if is_latest(qualifier):
            return await self._control.store.get(function, LATEST)
        return await self._control.catalog.read_primary(function, qualifier or LATEST)

    async def _update(self, function: FunctionId, params: Params, change: Change) -> Result:
        """Change $LATEST: durable, in force for every later request, then acknowledged."""
        control = self._control
        for attempt in range(REPLACE_ATTEMPTS):
            latest = await control.store.get(function, LATEST)
            _check_revision(latest, params)
            if latest.state is State.PENDING and await control.deployments.settled(latest):
                latest = await control.store.get(function, LATEST)
            changed = replace(
                await change(latest),
                revision_id=control.new_revision(),
                last_modified=control.now(),
                state=State.PENDING if latest.state is State.FAILED else latest.state,
                last_update_status=UpdateStatus.IN_PROGRESS,
                last_update_reason="The function is being updated.",
                last_update_reason_code="Creating",
            )
            try:
                await control.store.replace(changed, expected_revision_id=latest.revision_id)
                break
            except PlatformError as error:
                lost_race = error.code is ErrorCode.PRECONDITION_FAILED
                if not lost_race or attempt + 1 == REPLACE_ATTEMPTS:
                    raise
        control.changed(function)
        control.manager.supersede(function, LATEST, changed.key)
        control.deployments.begin(changed)
        if params.get("Publish"):
            return describe(await publish_version(control, function), qualified=True)
        return describe(changed, qualified=False)


def _named(params: Params, caller: Caller) -> tuple[FunctionId, str | None]:
    return parse_function_name(params["FunctionName"], caller, params.get("Qualifier"))


def _only_latest(qualifier: str | None) -> None:
    if not is_latest(qualifier):
        raise invalid("The operation is only supported on the $LATEST version of a function.")


def _check_revision(latest: FunctionVersion, params: Params) -> None:
    wanted = params.get("RevisionId")
    if wanted and wanted != latest.revision_id:
        raise PlatformError(
            ErrorCode.PRECONDITION_FAILED,
            "The Revision Id provided does not match the latest Revision Id. Call the "
            "GetFunction/GetAlias API to retrieve the latest Revision Id",
        )


async def _versions(control: Control, function: FunctionId) -> AsyncIterator[FunctionVersion]:
    marker: str | None = None
    while True:
        page = await control.store.list_versions(function, marker=marker, limit=1000)
        for version in page.items:
            yield version
        marker = page.marker
        if marker is None:
            return
