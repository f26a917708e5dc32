"""Who waits for room: the pools for which a start has found none.

How this works. Whatever may have made room (an instance that ended or became idle, a worker that
has changed) only asks for a pass. There is one pass for all that happens within `EVERY_S`, so who
waits costs everybody else next to nothing. It goes through the pools, the oldest request first,
and begins one start after the other; each has its room reserved before the next is looked at, so
that room for one begins one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from samovar.manager.needs import need_of
from samovar.manager.pool import Pool
from samovar.model.invocation import ColdCause
from samovar.ports import Need

EVERY_S = 0.01
SHARE = 9.0
"""Between two passes is as much time as the first one took, so often: where very many wait, passes
take a tenth of the time."""

Begin = Callable[[Pool, ColdCause], bool]
"""Reserve room for a start and begin it; False: it could not be, and is counted no more."""


class Waiters:
    """See the module's text."""

    def __init__(self, begin: Begin, monotonic: Callable[[], float]) -> None:
        self._begin = begin
        self._monotonic = monotonic
        self._pools: set[Pool] = set()
        self._pass: asyncio.TimerHandle | None = None
        self._pass_at = 0.0
        """When that is. (uvloop does not tell it of a handle that is due at once.)"""
        self._not_before = -math.inf
        """In the event loop's time."""

    def __len__(self) -> int:
        return len(self._pools)

    def add(self, pool: Pool) -> None:
        """A start has found no room."""
        self._pools.add(pool)

    def discard(self, pool: Pool) -> None:
        """It needs none any more."""
        self._pools.discard(pool)

    def longest(self) -> Pool | None:
        """That with the oldest request of all."""
        waiting = (pool for pool in self._pools if pool.tickets)
        return min(waiting, key=oldest_ticket, default=None)

    def wake(self, after_s: float = 0.0) -> None:
        """There may be room for somebody (then). Does not wait, and begins nothing at once."""
        if not self._pools:
            return
        loop = asyncio.get_running_loop()
        at = max(self._not_before, loop.time() + after_s)
        if self._pass is not None:
            if self._pass_at <= at:
                return
            self._pass.cancel()
        self._pass_at = at
        self._pass = loop.call_at(at, self._go_through)

    def close(self) -> None:
        """Begin nothing any more."""
        self._pools.clear()
        if self._pass is not None:
            self._pass.cancel()

    # ------------------------------------------------------------ one pass

    def _go_through(self) -> None:
        self._pass = None
        begun = self._monotonic()
        failed: dict[tuple[str, str, str], Need] = {}
        for pool in sorted(self._pools, key=oldest_ticket):
            need = need_of(pool)
            kind = need.runtime, need.architecture, need.isolation
            if kind in failed and _asks_for_no_less(need, failed[kind]):
                continue
            if not self._serve(pool) and not (need.disk_mib or need.template or pool.refused_by):
                failed[kind] = need
        pause_s = max(EVERY_S, SHARE * (self._monotonic() - begun))
        self._not_before = asyncio.get_running_loop().time() + pause_s

    def _serve(self, pool: Pool) -> bool:
        """Begin what a pool lacks; return whether there was room for all of it."""
        while (cause := pool.start_one()) is not None:
            if not self._begin(pool, cause):
                return False
        if pool.unblock():
            self.discard(pool)
        return True


def oldest_ticket(pool: Pool) -> float:
    """Of the requests that wait for a pool; what is started beforehand comes after all of them."""
    return next(iter(pool.tickets), math.inf)


def _asks_for_no_less(need: Need, than: Need) -> bool:
    return need.memory_mib >= than.memory_mib and need.vcpus >= than.vcpus
