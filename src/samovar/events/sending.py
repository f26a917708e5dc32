"""What it takes to send an event to a target that is no function: a queue, a topic, a bus, …

Beside its payload an event has *attributes*, under the names that AWS's APIs have for them; the
ones that are more than a text are JSON.

    SQS          MessageGroupId, MessageAttributes
    SNS          MessageAttributes
    EventBridge  Source, DetailType, Resources
    S3           Key

`MessageAttributes` is `{"NAME": {"DataType": "String", "StringValue": "…"}, …}`, `Resources` a list
of ARNs. What a target has no use for is left out.
"""

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
