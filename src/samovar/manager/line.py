"""Requests that wait because a limit is reached, before they count against it.

AWS refuses such a request at once; so does a line of length 0. Each function has a line of its
own, first come, first served; what comes free goes to one function after the other, so that a
function with many that wait does not starve one with few. An instance of provisioned concurrency
that comes free is given to the first that waits for one of its kind: it is not counted.

A request that ends concerns its own function, and those that wait for the account's limits: of
these, all are let in or none, so who looks asks the first and stops.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from samovar.manager.instances import Origin
from samovar.manager.limits import ConcurrencyLedger, throttled
from samovar.manager.pool import PoolKey
from samovar.model.errors import PlatformError, ThrottleReason
from samovar.model.function import FunctionId, VersionKey


class Waiting(NamedTuple):
    """One request."""

    key: PoolKey
    future: asyncio.Future[Origin | None]
    """The provisioned instance that it has been given; None: it has been counted in."""


class Line:
    """`longest`: requests of one function that may wait. `unused` is told of an instance that was
    given to a request in the moment in which it went away."""

    def __init__(
        self, ledger: ConcurrencyLedger, longest: int, unused: Callable[[Origin], None]
    ) -> None:
        self._ledger = ledger
        self._longest = longest
        self._unused = unused
        self._waiting: dict[FunctionId, deque[Waiting]] = {}
        self._sharing: OrderedDict[FunctionId, None] = OrderedDict()
        """Those of them without reserved concurrency."""
        self._entitled: OrderedDict[FunctionId, None] = OrderedDict()
        """Those with some, unless all of it is in use."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def admit(self, key: PoolKey, deadline: float) -> Origin | None:
        """Count a request in, now or when it is its turn; or return a provisioned instance that
        it has now. Raises TOO_MANY_REQUESTS with AWS's reason where too many wait, where it still
        waits at `deadline` (of the loop's clock), and where the function is stopped. When
        cancelled, it is not counted."""
        function = key.version.function
        ahead = self._waiting.get(function, ())
        if not ahead and self._ledger.refusal(function) is None:
            self._ledger.admit(function)
            return None
        if len(ahead) >= self._longest or self._ledger.reserved(function) == 0:
            raise self._refusal(function)
        loop = asyncio.get_running_loop()
        one = Waiting(key, loop.create_future())
        self._waiting.setdefault(function, deque()).append(one)
        self._file(function)
        admitted = False
        try:
            await asyncio.wait((one.future,), timeout=deadline - loop.time())
            if not one.future.done():
                raise self._refusal(function)
            origin = one.future.result()
            admitted = True
        finally:
            if not admitted:
                self._abandon(one)
        return origin

    def advance(self, function: FunctionId | None = None) -> None:
        """A request of a function has ended; or (None) limits have changed. Let in whoever can be,
        one function after the other."""
        for changed in list(self._waiting) if function is None else (function,):
            self._file(changed)
        for turns in (self._entitled, self._sharing):
            while turns and self._is_done_with(next(iter(turns))):
                pass

    def first(self, key: PoolKey) -> Waiting | None:
        """The one that has waited for longest for an instance of this pool."""
        line = self._waiting.get(key.version.function, ())
        return next((one for one in line if one.key == key), None)

    def give(self, one: Waiting, origin: Origin) -> None:
        """It gets this instance, and waits no more."""
        self._remove(one)
        one.future.set_result(origin)

    def versions(self, function: FunctionId) -> set[VersionKey]:
        """What those who wait for a function ask for."""
        return {one.key.version for one in self._waiting.get(function, ())}

    def close(self, error: PlatformError) -> None:
        """Refuse all who wait."""
        for line in self._waiting.values():
            for one in line:
                if not one.future.done():
                    one.future.set_exception(error)

    def _file(self, function: FunctionId) -> None:
        reserved = self._ledger.reserved(function) is not None
        turns, others = self._sharing, self._entitled
        if reserved:
            turns, others = others, turns
        others.pop(function, None)
        if function in self._waiting:
            turns.setdefault(function)
        else:
            turns.pop(function, None)

    def _is_done_with(self, function: FunctionId) -> bool:
        """Let one in, or find that the function has no more to come. False: the account's limits
        keep it out, and so all that come after it."""
        refusal = self._ledger.refusal(function)
        if refusal is not None:
            if refusal.reason != ThrottleReason.RESERVED_CONCURRENCY:
                return False
            self._entitled.pop(function)
            return True
        one = self._waiting[function][0]
        self._remove(one)
        for turns in (self._entitled, self._sharing):
            if function in turns:
                turns.move_to_end(function)
        if not one.future.done():
            self._ledger.admit(function)
            one.future.set_result(None)
        return True

    def _abandon(self, one: Waiting) -> None:
        """It went away, perhaps in the moment in which it was let in."""
        future, function = one.future, one.key.version.function
        if not future.done() or future.cancelled() or future.exception() is not None:
            self._remove(one)
        elif (origin := future.result()) is not None:
            self._unused(origin)
        else:
            self._ledger.done(function)
            self.advance(function)

    def _remove(self, one: Waiting) -> None:
        function = one.key.version.function
        line = self._waiting.get(function)
        if line is not None and one in line:
            line.remove(one)
            if not line:
                del self._waiting[function]
                self._file(function)

    def _refusal(self, function: FunctionId) -> PlatformError:
        """Those that wait are told the limit that they wait for, too."""
        return self._ledger.refusal(function) or throttled(ThrottleReason.ACCOUNT_CONCURRENCY)
