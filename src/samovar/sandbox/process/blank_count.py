"""How many blanks wait: asked of the supervisor when somebody looks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from samovar.sandbox.process.link import Message

_LIMIT_S = 1.0


class BlankCount:
    """Who asks while a question is under way shares its answer."""

    def __init__(self, send: Callable[[Message], None]) -> None:
        self._send = send
        self._answer: asyncio.Future[int] | None = None

    async def ask(self) -> int:
        """See `ports.Sandbox.blanks`."""
        if self._answer is None or self._answer.done():
            self._answer = asyncio.get_running_loop().create_future()
            self._send({"op": "count"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LIMIT_S):
                return await asyncio.shield(self._answer)
        self._answer = None  # it may have died; whoever asks next, asks anew
        return 0

    def told(self, blanks: int) -> None:
        """The supervisor has answered."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(blanks)
