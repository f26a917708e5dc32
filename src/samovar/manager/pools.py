"""The pools that there are, by version and by function, and when each has to be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from samovar.manager.functions import Functions
from samovar.manager.pool import Pool, PoolKey
from samovar.manager.timers import Timers
from samovar.model.function import FunctionId, FunctionVersion
from samovar.model.invocation import ColdCause


class Pools:
    """`forget_after_s`: a pool that has been empty for so long is forgotten, and with it why its
    last instance ended. A tenant's is forgotten at once: there may be any number of them."""

    def __init__(self, functions: Functions, forget_after_s: float) -> None:
        self._functions = functions
        self._forget_after_s = forget_after_s
        self._pools: dict[PoolKey, Pool] = {}
        self._of: dict[FunctionId, dict[PoolKey, None]] = {}
        self.timers = Timers()
        self.get = self._pools.get

    def __len__(self) -> int:
        return len(self._pools)

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    def make(
        self,
        version: FunctionVersion,
        tenant: str | None,
        now: float,
        last_end: ColdCause = ColdCause.FIRST,
    ) -> Pool:
        """A pool, in place of the one that there is for these, if there is one. Of a version that
        is not current any more it keeps nothing."""
        function = self._functions.of(version)
        soft = function.soft_limit(version, self._functions.concurrency_target)
        pool = Pool(version, function.keep, tenant, soft=soft, last_end=last_end)
        pool.last_used_at = now
        if version.key in self._functions.superseded:
            pool.retire()
        self._pools[pool.key] = pool
        self._of.setdefault(version.id, {})[pool.key] = None
        return pool

    def of(self, function: FunctionId, version: str | None = None) -> Sequence[Pool]:
        """Those of a function, or of one version of it with whatever configuration."""
        return [
            self._pools[key]
            for key in self._of.get(function, ())
            if version is None or key.version.version == version
        ]

    def settle(self, pool: Pool, now: float) -> None:
        """After anything that has happened to a pool: forget it where it is of no use any more,
        else see to it that it is looked at in time."""
        due = pool.due
        if pool.empty:
            due = pool.last_used_at + self._forget_after_s
            if pool.retired or pool.key.tenant is not None or due <= now:
                self._forget(pool)
                return
        self.timers.arm(pool, due)

    def _forget(self, pool: Pool) -> None:
        self.timers.disarm(pool)
        if self._pools.get(pool.key) is not pool:
            return
        del self._pools[pool.key]
        keys = self._of[pool.version.id]
        del keys[pool.key]
        if not keys:
            del self._of[pool.version.id]
