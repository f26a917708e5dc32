"""Requests that wait because a limit is reached, before they count against it.

AWS refuses such a request at once; so does a line of length 0. Each function has a line of its
own, first come, first served; what comes free goes to one function after the other, so that a
function with many that wait does not starve one with few.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from samovar.manager.limits import ConcurrencyLedger, throttled
from samovar.model.errors import PlatformError, ThrottleReason
from samovar.model.function import FunctionId


class Line:
    """`longest`: requests of one function that may wait; for `timeout_s` at the most."""

    def __init__(self, ledger: ConcurrencyLedger, longest: int, timeout_s: float) -> None:
        self._ledger = ledger
        self._longest = longest
        self._timeout_s = timeout_s
        self._waiting: OrderedDict[FunctionId, deque[asyncio.Future[None]]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def admit(self, function: FunctionId) -> None:
        """Count a request in, now or when it is its turn. Raises TOO_MANY_REQUESTS with AWS's
        reason where too many wait, where it has waited for too long, and where the function is
        stopped. When cancelled, it is not counted."""
        ahead = self._waiting.get(function, ())
        if not ahead and self._ledger.refusal(function) is None:
            return self._ledger.admit(function)
        if len(ahead) >= self._longest or self._ledger.reserved(function) == 0:
            raise self._refusal(function)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(function, deque()).append(future)
        admitted = False
        try:
            await asyncio.wait((future,), timeout=self._timeout_s)
            if not future.done():
                raise self._refusal(function)
            future.result()
            admitted = True
        finally:
            if not admitted:
                self._abandon(function, future)

    def advance(self) -> None:
        """Something may have come free: let in whoever can be, one function after the other."""
        while sum(self._let_one_in(function) for function in list(self._waiting)):
            pass

    def close(self, error: PlatformError) -> None:
        """Refuse all who wait."""
        for futures in self._waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)

    def _let_one_in(self, function: FunctionId) -> bool:
        if self._ledger.refusal(function) is not None:
            return False
        future = self._waiting[function][0]
        self._remove(function, future)
        if function in self._waiting:
            self._waiting.move_to_end(function)
        if not future.done():
            self._ledger.admit(function)
            future.set_result(None)
        return True

    def _abandon(self, function: FunctionId, future: asyncio.Future[None]) -> None:
        """It went away, perhaps in the moment in which it was let in."""
        if future.done() and not future.cancelled() and future.exception() is None:
            self._ledger.done(function)
            self.advance()
        else:
            self._remove(function, future)

    def _remove(self, function: FunctionId, future: asyncio.Future[None]) -> None:
        futures = self._waiting.get(function)
        if futures is not None and future in futures:
            futures.remove(future)
            if not futures:
                del self._waiting[function]

    def _refusal(self, function: FunctionId) -> PlatformError:
        """Those that wait are told the limit that they wait for, too."""
        return self._ledger.refusal(function) or throttled(ThrottleReason.ACCOUNT_CONCURRENCY)
