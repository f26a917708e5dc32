"""Reserved concurrency, and the account's limits.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from samovar.frontend.auth import Caller
from samovar.frontend.names import parse_unqualified
from samovar.frontend.operations.control import Control, Handler, Params, Result
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import MAX_UNPACKED_BYTES, MAX_ZIP_BYTES, FunctionId

TOTAL_CODE_BYTES = 75 * 1024**3


class ConcurrencyOperations:
    """The operations whose noun is concurrency."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._turn = asyncio.Lock()

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "PutFunctionConcurrency": self.put,
            "GetFunctionConcurrency": self.get,
            "DeleteFunctionConcurrency": self.delete,
            "GetAccountSettings": self.account_settings,
        }

    async def put(self, caller: Caller, params: Params) -> Result:
        limit: int = params["ReservedConcurrentExecutions"]
        await self._set(parse_unqualified(params["FunctionName"], caller), limit)
        return {"ReservedConcurrentExecutions": limit}

    async def get(self, caller: Caller, params: Params) -> Result:
        record = await self._control.store.record(parse_unqualified(params["FunctionName"], caller))
        if record.reserved_concurrency is None:
            return {}
        return {"ReservedConcurrentExecutions": record.reserved_concurrency}

    async def delete(self, caller: Caller, params: Params) -> Result:
        await self._set(parse_unqualified(params["FunctionName"], caller), None)
        return {}

    async def account_settings(self, caller: Caller, _: Params) -> Result:
        control = self._control
        reserved = await control.store.reserved_concurrencies()
        provisioned = await control.scaling.rules.provisioned()
        taken = sum(reserved.values())
        taken += sum(count for name, count in provisioned.items() if name not in reserved)
        code_bytes, marker, names = 0, None, set[str]()
        while True:
            page = await control.store.list_functions(
                caller.account, caller.region, all_versions=True, marker=marker, limit=1000
            )
            names.update(version.id.name for version in page.items)
            code_bytes += sum(version.code.size_bytes for version in page.items)
            marker = page.marker
            if marker is None:
                break
        return {
            "AccountLimit": {
                "TotalCodeSize": TOTAL_CODE_BYTES,
                "CodeSizeUnzipped": MAX_UNPACKED_BYTES,
                "CodeSizeZipped": MAX_ZIP_BYTES,
                "ConcurrentExecutions": control.account_concurrency,
                "UnreservedConcurrentExecutions": control.account_concurrency - taken,
            },
            "AccountUsage": {"TotalCodeSize": code_bytes, "FunctionCount": len(names)},
        }

    async def _set(self, function: FunctionId, limit: int | None) -> None:
        """In force first, then durable, then acknowledged; undone where it can't be kept."""
        control = self._control
        async with self._turn:  # or two at once could leave one in force and the other kept
            before = (await control.store.record(function)).reserved_concurrency
            control.manager.set_reserved_concurrency(function, limit)
            try:
                await control.store.set_reserved_concurrency(function, limit)
            except BaseException as error:
                gone = isinstance(error, PlatformError) and error.code is ErrorCode.NOT_FOUND
                control.manager.set_reserved_concurrency(function, None if gone else before)
                raise
        await control.scaling.follow(function)  # what the limits refused may be allowed now
