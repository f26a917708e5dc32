"""Brings new code and configuration from Pending to Active (or Failed).

A create or an update is durable and acknowledged first; then its code is unpacked and its runtime
made ready, and the version's state moves. An invocation that comes in between waits for that
(`ready`), so nobody has to poll before the first call, although all waiters work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from samovar.frontend.catalog import Catalog
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import (
    UPDATE_MOVES,
    VERSION_MOVES,
    FunctionId,
    FunctionVersion,
    State,
    UpdateStatus,
    VersionKey,
)
from samovar.model.invocation import ErrorDocument, error_type_of
from samovar.ports import FunctionStore, InitFailedError, Manager
from samovar.telemetry.log import get_logger

log = get_logger("deployments")

MAX_REASON_CHARS = 1000
"""Of what a function says of its own failure; it is kept with the version."""


class Deployments:
    """Use as an async context manager: its tasks live inside."""

    def __init__(
        self,
        store: FunctionStore,
        manager: Manager,
        catalog: Catalog,
        ready: Callable[[FunctionId], Awaitable[None]],
    ) -> None:
        """`ready` is told of the function of each version that has become ready, or has failed."""
        self._store = store
        self._manager = manager
        self._catalog = catalog
        self._ready = ready
        self._running: dict[VersionKey, asyncio.Task[None]] = {}
        self._tasks = asyncio.TaskGroup()
        self._suspended = False

    async def __aenter__(self) -> Deployments:
        await self._tasks.__aenter__()
        for version in await self._store.pending():  # an earlier life was interrupted
            self.begin(version)
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._tasks.__aexit__(None, None, None)

    def suspend(self) -> None:
        """The server ends. What fails from now on does for that: its next life tries again."""
        self._suspended = True

    def begin(self, version: FunctionVersion) -> None:
        """Start to make a version ready, unless that is under way. It is durable already."""
        if version.key in self._running:
            return
        task = self._tasks.create_task(self._deploy(version), name=f"deploy-{version.arn}")
        self._running[version.key] = task
        task.add_done_callback(lambda _: self._running.pop(version.key, None))

    async def ready(self, version: FunctionVersion) -> bool:
        """Wait until a version can be invoked; return whether there was a wait.

        One that has failed is tried again, for what was in the way may be gone (a full disk, say).
        Raises CONFLICT where it fails once more."""
        waited = await self.settled(version)
        if waited:
            version = await self._store.get(version.id, version.version)
        elif _has_failed(version):
            self.begin(_once_more(version))
            waited = await self.settled(version)
            version = await self._store.get(version.id, version.version)
        if _has_failed(version):
            raise PlatformError(
                ErrorCode.CONFLICT,
                "The operation cannot be performed at this time. The function is currently in the "
                f"following state: {State.FAILED}",
            )
        return waited

    async def settled(self, version: FunctionVersion) -> bool:
        """Wait until a version is ready or has failed; return whether there was a wait."""
        task = self._running.get(version.key)
        if task is None:
            return False
        await asyncio.shield(task)
        return True

    async def _deploy(self, version: FunctionVersion) -> None:
        try:
            await self._manager.prepare(version)
        except InitFailedError as error:
            settled = _failed(version, *_words_of(error))
        except PlatformError as error:
            settled = _failed(version, error.message, _BLAMED.get(error.code, INTERNAL_ERROR))
        except Exception as error:
            log.exception("deployment failed", function=version.arn)
            settled = _failed(version, f"Internal error: {error}")
        else:
            settled = _succeeded(version)
        if self._suspended and _has_failed(settled):
            return
        try:
            await self._store.replace(settled, expected_revision_id=version.revision_id)
        except PlatformError:
            # Changed or deleted meanwhile: that change has a deployment of its own.
            await self._let_go(version)
            return
        except Exception:  # it stays as it is; the next life of the server goes on with it
            log.exception("the result of a deployment was not kept", function=version.arn)
            return
        self._catalog.forget(version.id)
        try:
            await self._ready(version.id)
            # So that the first request need not read it:
            await self._catalog.resolve(version.id, version.version)
        except Exception as error:  # that request will say what is wrong
            log.warning("a version cannot be read", function=version.arn, error=str(error))

    async def _let_go(self, version: FunctionVersion) -> None:
        """What was made of it may have come after all was forgotten: have that forgotten, too."""
        current: VersionKey | None = None
        try:
            current = (await self._store.get(version.id, version.version)).key
        except PlatformError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                log.warning("a version cannot be read", function=version.arn, error=error.message)
                return
        except Exception:
            log.exception("a version cannot be read", function=version.arn)
            return
        self._manager.supersede(version.id, version.version, current)


def _has_failed(version: FunctionVersion) -> bool:
    failed_update = version.last_update_status is UpdateStatus.FAILED
    return version.state is State.FAILED or failed_update


def _once_more(version: FunctionVersion) -> FunctionVersion:
    if version.state is State.FAILED:
        assert State.PENDING in VERSION_MOVES[version.state]
        version = replace(version, state=State.PENDING)
    if version.last_update_status is UpdateStatus.FAILED:
        assert UpdateStatus.IN_PROGRESS in UPDATE_MOVES[version.last_update_status]
        version = replace(version, last_update_status=UpdateStatus.IN_PROGRESS)
    return version


def _succeeded(version: FunctionVersion) -> FunctionVersion:
    if version.state is State.PENDING:
        assert State.ACTIVE in VERSION_MOVES[version.state]
        version = replace(version, state=State.ACTIVE, state_reason=None, state_reason_code=None)
    if version.last_update_status is UpdateStatus.SUCCESSFUL:
        return version
    assert UpdateStatus.SUCCESSFUL in UPDATE_MOVES[version.last_update_status]
    return replace(
        version,
        last_update_status=UpdateStatus.SUCCESSFUL,
        last_update_reason=None,
        last_update_reason_code=None,
    )


_CODES: Mapping[str, str] = {
    "Sandbox.Timedout": "FunctionError.InitTimeout",
    "Runtime.OutOfMemory": "FunctionError.InitResourceExhausted",
    "Runtime.InvalidEntrypoint": "FunctionError.InvalidEntryPoint",
    "Extension.TooManyExtensions": "FunctionError.TooManyExtensions",
}
"""Type of an error in the init phase → AWS's StateReasonCode; for the rest its family decides."""
_FAMILIES: Mapping[str, str] = {
    "Runtime": "FunctionError.RuntimeInitError",
    "Extension": "FunctionError.ExtensionInitError",
}
FUNCTION_ERROR = "FunctionError"
INTERNAL_ERROR = "InternalError"
_BLAMED: Mapping[ErrorCode, str] = {
    ErrorCode.INVALID_PARAMETER: "InvalidConfiguration",
    ErrorCode.INVALID_RUNTIME: "InvalidRuntime",
    ErrorCode.INVALID_ZIP: "InvalidZipFileException",
    ErrorCode.TOO_MANY_REQUESTS: "InsufficientCapacity",
}
"""What a worker refuses → AWS's StateReasonCode; the rest is ours."""


def _words_of(error: InitFailedError) -> tuple[str, str]:
    """Why a version has failed whose init phase has, and AWS's code for that."""
    document = ErrorDocument.of(error.payload)
    if document is None:
        return "The init phase failed.", FUNCTION_ERROR
    kind = error_type_of(error.payload, "Runtime.Unknown")
    code = _CODES.get(kind) or _FAMILIES.get(kind.partition(".")[0], FUNCTION_ERROR)
    message = str(document.error_message or "")[:MAX_REASON_CHARS]
    return f"{kind}: {message}", code


def _failed(version: FunctionVersion, reason: str, code: str = "InternalError") -> FunctionVersion:
    if version.state is State.PENDING:
        assert State.FAILED in VERSION_MOVES[version.state]
        version = replace(
            version,
            state=State.FAILED,
            state_reason=reason,
            state_reason_code=code,
        )
    if version.last_update_status is UpdateStatus.SUCCESSFUL:  # a creation: nothing was updated
        return version
    assert UpdateStatus.FAILED in UPDATE_MOVES[version.last_update_status]
    return replace(
        version,
        last_update_status=UpdateStatus.FAILED,
        last_update_reason=reason,
        last_update_reason_code=code,
    )
