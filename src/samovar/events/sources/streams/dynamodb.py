"""Streams of tables: DynamoDB-compatible services.

https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html#events-sample-dynamodb
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from samovar.clock import Clock
from samovar.events.clients import AwsClients
from samovar.events.sources.aws_request import ask, listed, text_in, understanding
from samovar.events.sources.poller import SourceError
from samovar.events.sources.record import Record
from samovar.events.sources.streams import reading
from samovar.events.sources.streams.arrival import epoch, platform_time
from samovar.events.sources.streams.source import OpenStream
from samovar.events.sources.streams.stream import MAX_PAGES, Fetched, Position, Shard
from samovar.model.event_source import EventSourceMapping

MAX_DEPTH = 64
"""Of lists and maps in an item: DynamoDB has 32, and each is two of ours."""

_encode = msgspec.json.Encoder().encode


def dynamodb_opener(clients: AwsClients) -> OpenStream:
    """Opens streams of tables."""

    @contextlib.asynccontextmanager
    async def open_stream(
        mapping: EventSourceMapping, _role: str, clock: Clock
    ) -> AsyncIterator[TableStream]:
        async with clients.client("dynamodbstreams", mapping.source_region) as client:
            stream = TableStream(client, mapping, clock)
            await stream.describe()
            yield stream

    return open_stream


class TableStream:
    """See `stream.Stream`."""

    begins_at_times = False
    idle_s = 0.25
    retention_s = 24 * 3600.0
    details_name = "DDBStreamBatchInfo"

    def __init__(self, client: Any, mapping: EventSourceMapping, clock: Clock) -> None:
        self._client = client
        self._arn = self.identity = mapping.source_arn or ""  # when it was made is part of it
        self._clock = clock

    async def describe(self, after: str | None = None) -> Mapping[str, Any]:
        """A page of its description. Raises `SourceError`."""
        begin = {} if after is None else {"ExclusiveStartShardId": after}
        answer = await ask(self._client.describe_stream, StreamArn=self._arn, **begin)
        description = answer.get("StreamDescription")
        return description if isinstance(description, dict) else {}

    async def shards(self) -> Sequence[Shard]:
        """Those that there are, closed ones included."""
        found: list[Shard] = []
        last = None
        for _ in range(MAX_PAGES):
            page = await self.describe(last)
            with understanding("shard"):
                found += [_shard(each) for each in listed(page, "Shards")]
            last = page.get("LastEvaluatedShardId")
            if not last:
                return found
        raise SourceError(f"the stream has more than {MAX_PAGES} pages of shards")

    async def iterator(self, shard: str, position: Position) -> str:
        """What reading begins with."""
        request = {"ShardIteratorType": "LATEST" if position.latest else "TRIM_HORIZON"}
        if position.after is not None:
            request = {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "SequenceNumber": position.after,
            }
        return await reading.shard_iterator(
            self._client, StreamArn=self._arn, ShardId=shard, **request
        )

    async def fetch(self, shard: str, iterator: str, limit: int) -> Fetched:
        """The next records, in order."""
        return await reading.fetch(self._client, iterator, limit, partial(self._record, shard))

    def _record(self, shard: str, raw: Mapping[str, Any]) -> Record:
        change = {name: _shown(value) for name, value in raw["dynamodb"].items()}
        number = text_in(change, "SequenceNumber")
        arrived = epoch(raw["dynamodb"].get("ApproximateCreationDateTime"))
        change["ApproximateCreationDateTime"] = arrived
        event: dict[str, Any] = {
            "eventID": raw.get("eventID"),
            "eventName": raw.get("eventName"),
            "eventVersion": raw.get("eventVersion") or "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": self._arn.split(":")[3],
            "dynamodb": change,
            "eventSourceARN": self._arn,
        }
        if raw.get("userIdentity"):
            identity = raw["userIdentity"]
            event["userIdentity"] = {
                "principalId": identity.get("PrincipalId"),
                "type": identity.get("Type"),
            }
        return Record(
            id=number,
            json=_encode(event),
            seen=event,
            shard=shard,
            key=_encode(change.get("Keys")).decode(),
            arrived_at=platform_time(arrived, self._clock),
        )


def _shown(value: Any, depth: int = MAX_DEPTH) -> Any:
    """A part of a change as JSON has it: bytes in base64."""
    if not depth:
        raise TypeError("it is nested too deeply")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _shown(each, depth - 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_shown(each, depth - 1) for each in value]
    return value


def _shard(raw: Mapping[str, Any]) -> Shard:
    parent = raw.get("ParentShardId")
    closed = "EndingSequenceNumber" in (raw.get("SequenceNumberRange") or {})
    return Shard(text_in(raw, "ShardId"), frozenset({parent} if parent else ()), closed)
