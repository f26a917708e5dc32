"""Queues: the source of SQS-compatible services.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html

How this works. One task receives and gathers batches; each batch is delivered by a task of its
own, as many at once as the pace allows. From when they are received until they have been dealt
with, messages are *held*: their visibility time-out is renewed, so nobody else gets them. Then
they are deleted (delivered, filtered out), returned at once (not begun when the poller stops), or
let go: they appear again after the queue's visibility time-out, as those that failed do on AWS.

A batch that is throttled stays held and is tried again: to return it would count as an attempt in
the queue's redrive policy. Of a FIFO queue, no two batches with the same message group run at
once: the service sees to that, and where it does not, the second waits.

Receiving does not wait long for messages, though a long poll may: a poller that stops lets it
end, for messages that came to a poll that was given up would be invisible to everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from samovar.events.clients import AwsClients
from samovar.events.sources.aws_request import ask, refused
from samovar.events.sources.batch import Batcher
from samovar.events.sources.filter import sort_out
from samovar.events.sources.poller import BatchResult, Ending, Feed, SourceError
from samovar.events.sources.record import Record, records_envelope
from samovar.events.sources.sqs.held import HeldMessages
from samovar.events.sources.sqs.pace import Pace
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_source import EventSourceMapping
from samovar.model.function import FunctionVersion

MAX_RECEIVE = 10
"""Messages that one request brings."""

WAIT_S = 2
"""How long a receive may wait for a message; see the module's text."""

MAX_RECEIVERS = 5
"""Requests at once, while a batch is gathered from a full queue."""

QUICK_S = 0.5
"""An answer without messages that is faster than this was not waited for."""

MAX_HELD_BYTES = 64 * 1024 * 1024
"""Nothing more is received for a mapping that holds so much."""

HOLD_LIMIT_S = 300.0
"""A batch that cannot begin for so long is let go."""

FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 30.0


class SqsSource:
    """The `Source` of queues."""

    def __init__(self, clients: AwsClients) -> None:
        self._clients = clients

    async def check(self, mapping: EventSourceMapping, version: FunctionVersion) -> None:
        """The queue is there, and keeps messages invisible for as long as the function may run."""
        async with self._clients.client("sqs", mapping.source_region) as client:
            try:
                _, visibility_s = await _find_queue(client, mapping)
            except SourceError as error:
                raise refused(error, "ReceiveMessage", "SQS") from error
        if visibility_s < version.timeout_s:
            raise PlatformError(
                ErrorCode.INVALID_PARAMETER,
                f"Queue visibility timeout: {visibility_s} seconds is less than Function timeout: "
                f"{version.timeout_s} seconds",
            )

    async def poll(self, feed: Feed) -> None:
        """See `poller.Source`."""
        async with self._clients.client("sqs", feed.mapping.source_region) as client:
            url, visibility_s = await _find_queue(client, feed.mapping)
            held = HeldMessages(client, url, visibility_s, feed.room)
            async with asyncio.TaskGroup() as tasks:
                renewing = tasks.create_task(held.renew_until_cancelled())
                try:
                    async with asyncio.TaskGroup() as deliveries:
                        await _QueuePoller(feed, held, deliveries).run()
                finally:
                    renewing.cancel()
                    held.forget()


async def _find_queue(client: Any, mapping: EventSourceMapping) -> tuple[str, int]:
    """Its URL and its visibility time-out."""
    assert mapping.source_arn is not None
    *_, account, name = mapping.source_arn.split(":")
    owner = {"QueueOwnerAWSAccountId": account} if account else {}
    url = (await ask(client.get_queue_url, QueueName=name, **owner)).get("QueueUrl")
    if not isinstance(url, str):
        raise SourceError("the service has no URL for the queue")
    wanted = ["VisibilityTimeout"]
    answer = await ask(client.get_queue_attributes, QueueUrl=url, AttributeNames=wanted)
    try:
        return url, int(answer["Attributes"]["VisibilityTimeout"])
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError("the service does not tell the queue's visibility time-out") from error


class _QueuePoller:
    """One life of a mapping's poller."""

    def __init__(self, feed: Feed, held: HeldMessages, deliveries: asyncio.TaskGroup) -> None:
        self._feed = feed
        self._held = held
        self._deliveries = deliveries
        self._pace = Pace(feed.mapping.max_concurrency)
        self._batcher = Batcher.of(feed.mapping)
        self._busy = 0
        self._failed_groups: set[str] = set()
        """Of messages of the batch that was taken: what of it has not begun must not overtake."""
        self._groups: set[str] = set()
        self._ended = asyncio.Event()
        """Set whenever a delivery has ended."""

    async def run(self) -> None:
        """Gather and deliver until the poller is to stop. A service that fails is asked again."""
        batcher, failures = self._batcher, 0
        while not self._feed.stopping.is_set():
            await self._wait_while(self._is_full)
            try:
                await self._gather(batcher)
                failures = 0
            except SourceError as error:
                self._feed.problem(str(error))
                await self._feed.pause(min(FIRST_BACK_OFF_S * 2**failures, LONGEST_BACK_OFF_S))
                failures = min(failures + 1, 10)
            batch = batcher.take(self._feed.clock.now())
            self._failed_groups.clear()
            for part in self._parts(batch or ()):
                await self._begin(part)
        await self._put_back(batcher.rest())

    def _is_full(self) -> bool:
        too_large = self._held.size_bytes > MAX_HELD_BYTES or self._feed.room.is_full
        return (too_large and self._busy > 0) or self._busy >= self._pace.limit

    async def _gather(self, batcher: Batcher) -> None:
        """Receive until there is a batch to take, or nothing has come. Raises `SourceError`."""
        clock, receivers = self._feed.clock, 1
        while batcher.wanted and not self._feed.stopping.is_set():
            left_s = WAIT_S if batcher.due_at is None else batcher.due_at - clock.now()
            if left_s <= 0:
                return
            began, wait_s = time.monotonic(), int(min(WAIT_S, left_s))
            wanted = min(batcher.wanted, MAX_RECEIVE * receivers)
            received = await self._receive(wanted, wait_s)
            await self._add(batcher, received)
            if len(received) == wanted:
                receivers = min(receivers * 2, MAX_RECEIVERS)
            elif not received:
                receivers = 1
                # A service may answer at once though it was asked to wait.
                if time.monotonic() - began < min(QUICK_S, left_s):
                    await self._feed.pause(min(QUICK_S, left_s))
                if batcher.due_at is None:
                    return

    async def _receive(self, wanted: int, wait_s: int) -> Sequence[Record]:
        """By several requests, where so much is wanted. What any of them has brought counts."""
        counts = [min(MAX_RECEIVE, wanted - at) for at in range(0, wanted, MAX_RECEIVE)]
        arn = self._feed.mapping.source_arn or ""
        answers = await asyncio.gather(
            *(
                self._held.receive(arn, count, 0 if at else wait_s)
                for at, count in enumerate(counts)
            ),
            return_exceptions=True,
        )
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        records = [each for answer in answers if isinstance(answer, list) for each in answer]
        if errors and not records:
            raise errors[0]
        return records

    async def _add(self, batcher: Batcher, received: Sequence[Record]) -> None:
        wanted, unwanted = await sort_out(received, self._feed.admits)
        for record in wanted:
            batcher.add(record.filtered(), self._feed.clock.now())
        await self._held.delete(unwanted)

    def _parts(self, batch: Sequence[Record]) -> Iterator[Sequence[Record]]:
        """A message that says that it goes round in a loop is stopped without its neighbours."""
        loops = self._held.in_loops(batch, self._feed.mapping.function)
        for looping, group in itertools.groupby(batch, key=lambda record: record.id in loops):
            part = list(group)
            yield from ([record] for record in part) if looping else [part]

    async def _begin(self, batch: Sequence[Record]) -> None:
        groups = {record.key for record in batch if record.key}
        await self._wait_while(
            lambda: bool(groups & self._groups) or self._busy >= self._pace.limit
        )
        if self._feed.stopping.is_set():
            await self._put_back(batch)
            return
        await self._put_back([each for each in batch if each.key in self._failed_groups])
        if batch := [each for each in batch if each.key not in self._failed_groups]:
            groups = {record.key for record in batch if record.key}
            self._groups |= groups
            self._busy += 1
            self._deliveries.create_task(self._deliver_and_free(batch, groups))

    async def _put_back(self, batch: Sequence[Record]) -> None:
        with contextlib.suppress(SourceError):  # they appear again anyway, later
            await self._held.put_back(batch)

    async def _wait_while(self, condition: Callable[[], bool]) -> None:
        while condition():
            self._ended.clear()
            await self._ended.wait()

    async def _deliver_and_free(self, batch: Sequence[Record], groups: set[str]) -> None:
        try:
            await self._deliver(batch)
        except SourceError as error:  # what was not deleted comes again
            self._feed.problem(str(error))
        finally:
            self._busy -= 1
            self._groups -= groups
            self._ended.set()

    async def _deliver(self, batch: Sequence[Record]) -> None:
        since, back_off_s = time.monotonic(), FIRST_BACK_OFF_S
        trace_id = self._held.trace_id(batch)
        while True:
            result = await self._feed.deliver(batch, records_envelope, trace_id)
            if result.ending is not Ending.NOT_BEGUN:
                self._pace.succeeded(self._busy, time.monotonic())
                break
            self._pace.throttled()
            if not await self._feed.pause(back_off_s):
                return await self._put_back(batch)
            back_off_s = min(back_off_s * 2, LONGEST_BACK_OFF_S)
            if time.monotonic() - since > HOLD_LIMIT_S:
                break
        return await self._dispose(batch, result)

    async def _dispose(self, batch: Sequence[Record], result: BatchResult) -> None:
        failed = [record for record in batch if record.id in result.failed]
        groups = {record.key for record in failed if record.key}
        self._failed_groups |= groups
        self._held.let_go(failed)
        await self._put_back(self._batcher.without(groups))
        await self._held.delete([record for record in batch if record.id not in result.failed])
