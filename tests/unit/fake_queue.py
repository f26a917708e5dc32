"""A queue service in memory, as its client shows it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any


class FakeQueue:
    """Messages are visible, or held by who received them; time does not pass by itself."""

    def __init__(
        self, *bodies: str, visibility_s: int = 30, waits: bool = True, fifo: bool = False
    ) -> None:
        self.visible: list[dict[str, Any]] = []
        self.held: dict[str, dict[str, Any]] = {}
        self.deleted: list[str] = []
        self.renewed: dict[str, int] = {}
        self.visibility_s = visibility_s
        self.errors: list[Exception] = []
        self.delete_errors: list[Exception] = []
        self.answers: list[Any] = []
        """To the next receives, instead of messages."""
        self.receives = 0
        self._numbers = 0
        self._waits = waits
        self._fifo = fifo
        self.send(*bodies)

    def send(self, *bodies: str, group: str | None = None) -> None:
        """Put messages into it."""
        for body in bodies:
            self._numbers += 1
            attributes = {"ApproximateReceiveCount": "0"}
            if group is not None:
                attributes["MessageGroupId"] = group
            self.visible.append(
                {"MessageId": f"m{self._numbers}", "Body": body, "Attributes": attributes}
            )

    @contextlib.asynccontextmanager
    async def client(self, _service: str, _region: str) -> AsyncIterator[FakeQueue]:
        """As `AwsClients` gives it."""
        yield self

    async def get_queue_url(self, **_: Any) -> dict[str, Any]:
        return {"QueueUrl": "http://queue"}

    async def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
        return {"Attributes": {"VisibilityTimeout": str(self.visibility_s)}}

    async def receive_message(
        self,
        *,
        MaxNumberOfMessages: int,
        WaitTimeSeconds: int,
        **_: Any,
    ) -> dict[str, Any]:
        self.receives += 1
        if self.errors:
            raise self.errors.pop(0)
        if self.answers:
            return self.answers.pop(0)
        await asyncio.sleep(0.001 if self._waits and WaitTimeSeconds and not self.visible else 0)
        blocked = {_group(message) for message in self.held.values()} if self._fifo else set()
        free = [message for message in self.visible if _group(message) not in blocked]
        taken = free[:MaxNumberOfMessages]
        self.visible = [message for message in self.visible if message not in taken]
        for message in taken:
            count = int(message["Attributes"]["ApproximateReceiveCount"]) + 1
            message["Attributes"]["ApproximateReceiveCount"] = str(count)
            message["ReceiptHandle"] = f"{message['MessageId']}/{count}"
            self.held[message["ReceiptHandle"]] = message
        return {"Messages": taken} if taken else {}

    async def delete_message_batch(self, *, Entries: Any, **_: Any) -> dict[str, Any]:
        assert 1 <= len(Entries) <= 10
        if self.delete_errors:
            raise self.delete_errors.pop(0)
        for entry in Entries:
            self.deleted.append(self.held.pop(entry["ReceiptHandle"])["MessageId"])
        return {}

    async def change_message_visibility_batch(
        self,
        *,
        Entries: Any,
        **_: Any,
    ) -> dict[str, Any]:
        assert 1 <= len(Entries) <= 10
        for entry in Entries:
            message = self.held[entry["ReceiptHandle"]]
            if entry["VisibilityTimeout"] == 0:
                self.visible.append(self.held.pop(entry["ReceiptHandle"]))
            else:
                number = message["MessageId"]
                self.renewed[number] = self.renewed.get(number, 0) + 1
        return {}


def _group(message: dict[str, Any]) -> str | None:
    group: str | None = message["Attributes"].get("MessageGroupId")
    return group
