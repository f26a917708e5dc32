"""The requests that wait for an instance: one future each, which is done once."""

from __future__ import annotations

import asyncio
import itertools
from typing import NamedTuple

from samovar.manager.actions import Ticket
from samovar.manager.instances import Origin
from samovar.model.invocation import StartReport


class Granted(NamedTuple):
    """What a request gets that has waited."""

    origin: Origin
    at: float
    report: StartReport | None
    """Of the start, where no other request has been told of it."""
    provisioned: bool


class Tickets:
    """All of them."""

    def __init__(self) -> None:
        self._futures: dict[Ticket, asyncio.Future[Granted]] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._futures)

    def open(self) -> tuple[Ticket, asyncio.Future[Granted]]:
        """A request begins to wait."""
        ticket = Ticket(next(self._numbers))
        future = self._futures[ticket] = asyncio.get_running_loop().create_future()
        return ticket, future

    def close(self, ticket: Ticket) -> None:
        """It waits no more."""
        del self._futures[ticket]

    def is_waiting(self, ticket: Ticket) -> bool:
        """False: it has gone away, perhaps in this turn of the loop."""
        future = self._futures.get(ticket)
        return future is not None and not future.done()

    def grant(self, ticket: Ticket, granted: Granted) -> None:
        """It is waiting, and gets this."""
        self._futures[ticket].set_result(granted)

    def reject(self, ticket: Ticket, error: Exception) -> None:
        """It fails, if it is still waiting."""
        if self.is_waiting(ticket):
            self._futures[ticket].set_exception(error)

    def reject_all(self, error: Exception) -> None:
        """Nobody gets anything any more."""
        for ticket in self._futures:
            self.reject(ticket, error)
