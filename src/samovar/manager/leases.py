"""The leases that have not ended, and the requests in flight."""

from __future__ import annotations

import asyncio
import itertools
from typing import NamedTuple

from samovar.manager.instances import Origin
from samovar.manager.pool import Pool
from samovar.model.instance import InstanceId
from samovar.model.invocation import StartReport
from samovar.ports import Lease


class Held(NamedTuple):
    """What a lease stands for."""

    instance: InstanceId
    pool: Pool
    on_demand: bool
    """It counts against the limits."""


class Leases:
    """Each ends once."""

    def __init__(self) -> None:
        self.at_rest = asyncio.Event()
        """Set when the last request has ended."""
        self.in_flight = 0
        """Requests that have been let in and have not ended: those that wait, too."""
        self._held: dict[int, Held] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._held)

    def begin(self, origin: Origin, report: StartReport, *, on_demand: bool) -> Lease:
        """Give an instance to a request."""
        number, pool = next(self._numbers), origin.pool
        self._held[number] = Held(origin.instance, pool, on_demand)
        return Lease(origin.instance, origin.worker, pool.version, report, number)

    def end(self, lease: Lease) -> Held | None:
        """None: it has ended already."""
        return self._held.pop(lease.number, None)

    def finished(self) -> None:
        """A request has ended."""
        self.in_flight -= 1
        if not self.in_flight:
            self.at_rest.set()
