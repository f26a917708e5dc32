"""Requests that Kinesis and DynamoDB Streams understand alike. They raise `SourceError`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from samovar.events.sources.aws_request import ask, listed, understanding
from samovar.events.sources.record import Record
from samovar.events.sources.streams.stream import Fetched


async def shard_iterator(client: Any, **request: Any) -> str:
    """What reading of a shard begins with."""
    answer = await ask(client.get_shard_iterator, **request)
    return str(answer.get("ShardIterator"))


async def fetch(
    client: Any, iterator: str, limit: int, record_of: Callable[[Mapping[str, Any]], Record]
) -> Fetched:
    """The next records of a shard, in order."""
    answer = await ask(client.get_records, ShardIterator=iterator, Limit=limit)
    with understanding("record"):
        records = [record_of(each) for each in listed(answer, "Records")]
    return Fetched(records, answer.get("NextShardIterator") or None)
