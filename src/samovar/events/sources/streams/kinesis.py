"""Kinesis-compatible streams.

https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html#services-kinesis-event-example
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
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

_encode = msgspec.json.Encoder().encode


def kinesis_opener(clients: AwsClients) -> OpenStream:
    """Opens streams of Kinesis."""

    @contextlib.asynccontextmanager
    async def open_stream(
        mapping: EventSourceMapping, role: str, clock: Clock
    ) -> AsyncIterator[KinesisStream]:
        async with clients.client("kinesis", mapping.source_region) as client:
            stream = KinesisStream(client, mapping, role, clock)
            await stream.open()
            yield stream

    return open_stream


class KinesisStream:
    """See `stream.Stream`."""

    begins_at_times = True
    idle_s = 1.0
    details_name = "KinesisBatchInfo"

    def __init__(self, client: Any, mapping: EventSourceMapping, role: str, clock: Clock) -> None:
        self.retention_s = 24 * 3600.0
        self.identity = ""
        self._client = client
        self._arn = mapping.source_arn or ""
        self._name = self._arn.rpartition("stream/")[2]
        self._role = role
        self._clock = clock

    async def open(self) -> None:
        """Find the stream. Raises `SourceError`."""
        answer = await ask(self._client.describe_stream_summary, StreamName=self._name)
        summary = answer.get("StreamDescriptionSummary")
        hours = summary.get("RetentionPeriodHours") if isinstance(summary, dict) else None
        made = summary.get("StreamCreationTimestamp") if isinstance(summary, dict) else None
        self.identity = str(epoch(made))
        if isinstance(hours, int) and hours > 0:
            self.retention_s = hours * 3600.0

    async def shards(self) -> Sequence[Shard]:
        """Those that there are, closed ones included."""
        await self.open()  # its retention may have changed
        found: list[Shard] = []
        request: dict[str, Any] = {"StreamName": self._name}
        for _ in range(MAX_PAGES):
            answer = await ask(self._client.list_shards, **request)
            with understanding("shard"):
                found += [_shard(each) for each in listed(answer, "Shards")]
            token = answer.get("NextToken")
            if not token:
                return found
            request = {"NextToken": token}
        raise SourceError(f"the stream has more than {MAX_PAGES} pages of shards")

    async def iterator(self, shard: str, position: Position) -> str:
        """What reading begins with."""
        request: dict[str, Any] = {"ShardIteratorType": "TRIM_HORIZON"}
        if position.after is not None:
            request = {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "StartingSequenceNumber": position.after,
            }
        elif position.latest:
            request = {"ShardIteratorType": "LATEST"}
        elif position.since is not None:
            moment = dt.datetime.fromtimestamp(position.since, dt.UTC)
            request = {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": moment}
        return await reading.shard_iterator(
            self._client, StreamName=self._name, ShardId=shard, **request
        )

    async def fetch(self, shard: str, iterator: str, limit: int) -> Fetched:
        """The next records, in order."""
        return await reading.fetch(self._client, iterator, limit, partial(self._record, shard))

    def _record(self, shard: str, raw: Mapping[str, Any]) -> Record:
        number, key = text_in(raw, "SequenceNumber"), text_in(raw, "PartitionKey")
        data, arrived = raw["Data"], epoch(raw.get("ApproximateArrivalTimestamp"))
        kinesis = {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": key,
            "sequenceNumber": number,
            "data": base64.b64encode(data).decode(),
            "approximateArrivalTimestamp": arrived,
        }
        event = {
            "kinesis": kinesis,
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"{shard}:{number}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": self._role,
            "awsRegion": self._arn.split(":")[3],
            "eventSourceARN": self._arn,
        }
        return Record(
            id=number,
            json=_encode(event),
            seen=event | kinesis,
            contents={"data": data},
            shard=shard,
            key=key,
            arrived_at=platform_time(arrived, self._clock),
        )


def _shard(raw: Mapping[str, Any]) -> Shard:
    parents = (raw.get("ParentShardId"), raw.get("AdjacentParentShardId"))
    closed = "EndingSequenceNumber" in (raw.get("SequenceNumberRange") or {})
    return Shard(text_in(raw, "ShardId"), frozenset(filter(None, parents)), closed)
