"""What it takes to send an event to a target that is no function: a queue, a topic, a bus, …"""

from __future__ import annotations

from typing import Protocol

from samovar.model.event import Event


class SendError(Exception):
    """A target has not taken an event. `lasting`: it never will, trying again is no use."""

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class Sender(Protocol):
    """Sends events to targets."""

    async def send(self, event: Event) -> None:
        """Returns when the target has taken it. Raises `SendError`. Bounded in time."""
        ...
