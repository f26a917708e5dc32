"""The messages that a queue's poller holds: received, and not dealt with yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from samovar.events.sources.aws_request import ask, listed, text_in, understanding
from samovar.events.sources.poller import SourceError
from samovar.events.sources.record import Record
from samovar.events.sources.room import Room
from samovar.events.sources.sqs.message import read_message
from samovar.model import lineage
from samovar.model.function import FunctionId
from samovar.telemetry.log import get_logger

log = get_logger("events.sqs")

MAX_BATCH = 10
"""Messages that one request deletes, or changes."""

SHORTEST_VISIBILITY_S = 1
RENEWALS = 3
"""In the time that a renewal lasts: two may fail."""

DELETE_ATTEMPTS = 3


@dataclass(slots=True)
class _Held:
    receipt: str
    """What it is deleted by."""
    trace_id: str | None
    size_bytes: int
    renew_at: float
    """By the machine's monotonic clock."""


class HeldMessages:
    """Keeps messages invisible to others until they are deleted, put back or let go."""

    def __init__(self, client: Any, url: str, visibility_s: int, room: Room) -> None:
        self._client = client
        self._room = room
        self._url = url
        self._visibility_s = max(visibility_s, SHORTEST_VISIBILITY_S)
        self._renew_s = self._visibility_s / RENEWALS
        self._held: dict[str, _Held] = {}
        self.size_bytes = 0

    async def receive(self, queue_arn: str, count: int, wait_s: int) -> list[Record]:
        """Up to so many messages, which are held from now on. Raises `SourceError`."""
        asked_at = time.monotonic()  # they may be held since then, however long it waits
        answer = await ask(
            self._client.receive_message,
            QueueUrl=self._url,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
            MaxNumberOfMessages=count,
            VisibilityTimeout=self._visibility_s,
            WaitTimeSeconds=wait_s,
        )
        with understanding("message"):
            messages = listed(answer, "Messages")[:MAX_BATCH]
        records = []
        for raw in messages:
            message = read_message(raw, queue_arn)
            if message is None:
                continue
            record = message.record
            known = self._held.get(record.id)
            if known is None:
                records.append(record)
                self.size_bytes += len(record.json)
                self._room.take(len(record.json))
            # The newest receipt is the one that counts.
            size_bytes = len(record.json) if known is None else known.size_bytes
            renew_at = asked_at + self._renew_s
            self._held[record.id] = _Held(message.receipt, message.trace_id, size_bytes, renew_at)
        return records

    def in_loops(self, records: Iterable[Record], function: FunctionId) -> set[str]:
        """Ids of those that have been through the function too often, or say so."""
        found = set()
        for record in records:
            header = self._held[record.id].trace_id
            if header and lineage.enter(header, function)[1] >= lineage.MAX_ROUNDS:
                found.add(record.id)
        return found

    def trace_id(self, records: Iterable[Record]) -> str | None:
        """The trace that a batch of them belongs to: that of the longest chain."""
        return lineage.longest(self._held[record.id].trace_id for record in records)

    async def renew_until_cancelled(self) -> None:
        """Keep invisible what is held. Each message has its time, and no request waits for another
        one that is slow: it is left in time for the next try."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(self._renew_s / RENEWALS)
                now = time.monotonic()
                due = [held for held in self._held.values() if held.renew_at <= now]
                for held in due:
                    held.renew_at = now + self._renew_s
                for some in _in_tens(due):
                    tasks.create_task(self._renew(some))

    async def _renew(self, messages: Sequence[_Held]) -> None:
        try:
            async with asyncio.timeout(self._renew_s):
                await self._change_visibility(messages, self._visibility_s)
        except (SourceError, TimeoutError) as error:
            log.warning("messages could not be kept invisible", error=str(error))

    async def delete(self, records: Sequence[Record]) -> None:
        """They have been dealt with. Raises `SourceError`; they appear again then."""
        errors = [await self._delete_some(some) for some in _in_tens(self._pop(records))]
        for error in errors:
            if error is not None:
                raise error

    async def _delete_some(self, messages: Sequence[_Held]) -> SourceError | None:
        """What kept them from being deleted, however often it was tried."""
        entries, error = _entries(messages), None
        for _ in range(DELETE_ATTEMPTS):
            try:
                entries, error = await self._delete(entries), None
            except SourceError as failed:
                error = failed
            if not entries:
                return None
        return error or SourceError(f"{len(entries)} messages could not be deleted")

    async def _delete(self, entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those of the entries that were not deleted."""
        answer = await ask(self._client.delete_message_batch, QueueUrl=self._url, Entries=entries)
        with understanding("answer to a deletion"):
            failed = {text_in(each, "Id") for each in listed(answer, "Failed")}
        return [entry for entry in entries if entry["Id"] in failed]

    async def put_back(self, records: Sequence[Record]) -> None:
        """Make them visible to everybody at once: they were not begun."""
        for some in _in_tens(self._pop(records)):
            await self._change_visibility(some, 0)

    def let_go(self, records: Sequence[Record]) -> None:
        """They appear again by themselves."""
        self._pop(records)

    def _pop(self, records: Sequence[Record]) -> list[_Held]:
        popped = [self._held.pop(record.id) for record in records if record.id in self._held]
        size_bytes = sum(message.size_bytes for message in popped)
        self.size_bytes -= size_bytes
        self._room.give(size_bytes)
        return popped

    def forget(self) -> None:
        """Its poller has ended."""
        self._room.give(self.size_bytes)
        self._held.clear()

    async def _change_visibility(self, messages: Sequence[_Held], visibility_s: int) -> None:
        entries = [entry | {"VisibilityTimeout": visibility_s} for entry in _entries(messages)]
        await ask(self._client.change_message_visibility_batch, QueueUrl=self._url, Entries=entries)


def _entries(messages: Sequence[_Held]) -> list[dict[str, Any]]:
    return [
        {"Id": str(number), "ReceiptHandle": message.receipt}
        for number, message in enumerate(messages)
    ]


def _in_tens(messages: Sequence[_Held]) -> Iterator[Sequence[_Held]]:
    for at in range(0, len(messages), MAX_BATCH):
        yield messages[at : at + MAX_BATCH]
