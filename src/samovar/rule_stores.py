"""The port of the store of what applies to a function's invocations: a Protocol only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from samovar.model.event_invoke_config import EventInvokeConfig
from samovar.model.function import FunctionId
from samovar.stores import Page


class InvocationRuleStore(Protocol):
    """What applies to a function's invocations: event invoke configs, and whether loops are
    allowed. Durable, one transaction a method. They end with their function, version or alias.

    Errors are `PlatformError` NOT_FOUND ("Function not found: ARN")."""

    async def get(self, function: FunctionId, qualifier: str) -> EventInvokeConfig | None:
        """None: there is none, or no such function."""
        ...

    async def change(
        self,
        function: FunctionId,
        qualifier: str,
        change: Callable[[EventInvokeConfig | None], EventInvokeConfig],
    ) -> EventInvokeConfig:
        """Put `change(config)` in its place and return it; what `change` raises undoes it.
        NOT_FOUND where there is no such version or alias."""
        ...

    async def delete(self, function: FunctionId, qualifier: str) -> bool:
        """Whether there was one."""
        ...

    async def list_configs(
        self, function: FunctionId, *, marker: str | None, limit: int
    ) -> Page[EventInvokeConfig]: ...
    async def loops_allowed(self, function: FunctionId) -> bool:
        """Whether it may be invoked in a recursive loop."""
        ...

    async def allow_loops(self, function: FunctionId, allowed: bool) -> None: ...
