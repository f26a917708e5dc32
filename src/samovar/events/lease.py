"""One life of a dispatcher as a holder of events: a token, and a deadline that is renewed.

Deadlines go by real time. Whoever cannot renew in time takes nothing more: others may have its
events already. If they have not, it goes on as before. If they have, it goes on under a new token;
what it began under the old one may end, and changes nothing (`EventStore.settle`).

A server that is alone with its database has no deadline: nobody is there to take its events, and
what an earlier life of it held is freed as it starts.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Callable

from samovar.ports import EventStore
from samovar.telemetry.log import get_logger

log = get_logger("events")

LEASE_S = 30.0
RENEW_S = 8.0
"""Three tries within a lease."""


class Lease:
    """See the module's text."""

    def __init__(
        self,
        store: EventStore,
        *,
        alone: bool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._lease_s = math.inf if alone else LEASE_S
        self._monotonic = monotonic
        self._token: str | None = None
        self._ends = 0.0

    @property
    def token(self) -> str | None:
        """What to hold events with; None while there is none to be sure of."""
        return self._token if self._monotonic() < self._ends else None

    async def begin(self) -> None:
        """Take a token. Raises `PlatformError`."""
        begun, token = self._monotonic(), secrets.token_hex(8)
        await self._store.hold(token, self._lease_s)
        self._token, self._ends = token, begun + self._lease_s

    async def renew(self) -> None:
        """Go on with the token, or begin with a new one. Raises `PlatformError`."""
        begun, token = self._monotonic(), self._token
        if token is not None and await self._store.renew(token, self._lease_s):
            self._ends = begun + self._lease_s
            return
        log.warning("the lease on events has run out; going on with a new one")
        self._token = None
        await self.begin()

    async def keep(self, stop: asyncio.Event) -> None:
        """Renew until `stop` is set, and sweep up after those who could not. Nothing for who is
        alone: then there is nobody, and a server that has nothing to do writes nothing."""
        if self._lease_s == math.inf:
            return
        while not stop.is_set():
            try:
                async with asyncio.timeout(RENEW_S):
                    await stop.wait()
                    return
            except TimeoutError:
                pass
            try:
                await self.renew()
                await self._store.sweep()
            except Exception as error:
                log.warning("the lease on events was not renewed", error=str(error))

    async def end(self) -> None:
        """Give back all that is still held."""
        token, self._token = self._token, None
        if token is None:
            return
        try:
            await self._store.leave(token)
        except Exception as error:  # its deadline does it, or the next life of the server
            log.warning("held events were not given back", error=str(error))
