"""Streams as sources: finds their shards, and has each read when it is its turn.

https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html and with-ddb.html
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from samovar.clock import Clock
from samovar.events.sources.aws_request import refused
from samovar.events.sources.poller import Feed, SourceError
from samovar.events.sources.streams.shard_reader import ShardReader
from samovar.events.sources.streams.shards import (
    begin_position,
    first_positions,
    forgettable,
    readable,
)
from samovar.events.sources.streams.stream import Position, Stream
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_source import EventSourceMapping
from samovar.model.function import FunctionVersion

LOOK_FOR_SHARDS_S = 60.0
"""Beside when one has come to its end: streams can be split at any time."""

AFTER_FAILURE_S = 5.0

BEGUN = "*"
"""Its position says of which stream the shards have been looked at: newer ones are read from their
beginnings."""

NOT_FOUND = "ResourceNotFoundException"


class StreamReplacedError(SourceError):
    """Another stream has the name now; what was read of the old one means nothing there."""


OpenStream = Callable[[EventSourceMapping, str, Clock], AbstractAsyncContextManager[Stream]]
"""Opens a mapping's stream, with the role that its function runs under. Entering it raises
`SourceError` where the stream is not there, INVALID_PARAMETER where no endpoint is configured."""


class StreamSource:
    """The `Source` of one service's streams."""

    def __init__(self, service: str, open_stream: OpenStream) -> None:
        self._service = service
        self._open = open_stream

    async def check(self, mapping: EventSourceMapping, version: FunctionVersion) -> None:
        """The stream is there."""
        if "/consumer/" in (mapping.source_arn or ""):
            raise PlatformError(
                ErrorCode.INVALID_PARAMETER,
                "Stream consumers are not supported by this server: give the ARN of the stream.",
            )
        try:
            async with self._open(mapping, version.role, Clock()):
                pass
        except SourceError as error:
            if error.code == NOT_FOUND:
                raise PlatformError(
                    ErrorCode.INVALID_PARAMETER, f"Stream not found: {mapping.source_arn}"
                ) from error
            raise refused(error, "GetRecords", self._service) from error

    async def poll(self, feed: Feed) -> None:
        """See `poller.Source`."""
        role = await feed.role()
        try:
            async with (
                self._open(feed.mapping, role, feed.clock) as stream,
                asyncio.TaskGroup() as readers,
            ):
                await _StreamPoller(feed, stream, readers).run()
        except* StreamReplacedError:
            feed.problem("The stream was made anew: it is read from its beginning")


class _StreamPoller:
    """One life of a mapping's poller."""

    def __init__(self, feed: Feed, stream: Stream, readers: asyncio.TaskGroup) -> None:
        self._feed = feed
        self._stream = stream
        self._readers = readers
        self._positions: dict[str, Position] = {}
        self._reading: dict[str, ShardReader] = {}
        self._look = asyncio.Event()

    async def run(self) -> None:
        """Have each shard read when it is its turn, until the poller is to stop."""
        self._positions = _from_store(await self._feed.positions.load())
        while not self._feed.stopping.is_set():
            self._look.clear()
            try:
                await self._find_shards()
            except StreamReplacedError:
                raise  # ends the readers of the old one
            except (SourceError, PlatformError) as error:
                self._feed.problem(str(error))
                await self._feed.pause(AFTER_FAILURE_S)
            else:
                await self._pause()

    async def _find_shards(self) -> None:
        shards = await self._stream.shards()
        begun = self._positions.get(BEGUN)
        if begun is None:
            first = first_positions(self._feed.mapping, shards, time.time())
            await self._begin(first)
        elif begun.after != self._stream.identity:
            if self._reading:
                raise StreamReplacedError("the stream was made anew")
            for name in self._positions.keys() - {BEGUN}:
                await self._feed.positions.forget(name)
                del self._positions[name]
            await self._begin({})
        there = {shard.id for shard in shards}
        for name, reader in self._reading.items():
            reader.dropped = name not in there
        for name in forgettable(shards, self._positions):
            await self._feed.positions.forget(name)
            del self._positions[name]
        for shard in readable(shards, self._positions):
            if shard.id not in self._reading:
                position = self._positions.get(shard.id) or begin_position(self._feed.mapping)
                reader = ShardReader(self._feed, self._stream, shard.id, position)
                self._reading[shard.id] = reader
                self._readers.create_task(self._read(shard.id, reader))

    async def _begin(self, first: Mapping[str, Position]) -> None:
        for name, position in {**first, BEGUN: Position(after=self._stream.identity)}.items():
            await self._feed.positions.save(name, position.to_json())
            self._positions[name] = position

    async def _read(self, shard: str, reader: ShardReader) -> None:
        finished = await reader.run()
        del self._reading[shard]
        if finished:
            self._positions[shard] = Position(done=True)
        self._look.set()

    async def _pause(self) -> None:
        """Until it is time to look for shards again, or to stop."""
        waiters = [
            asyncio.ensure_future(event.wait()) for event in (self._look, self._feed.stopping)
        ]
        try:
            await asyncio.wait(
                waiters, timeout=LOOK_FOR_SHARDS_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for waiter in waiters:
                waiter.cancel()


def _from_store(kept: Mapping[str, dict[str, object]]) -> dict[str, Position]:
    return {name: Position.from_json(position) for name, position in kept.items()}
