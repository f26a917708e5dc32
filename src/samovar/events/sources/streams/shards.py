"""Which shards of a stream to read, and from where. Pure.

A shard's parents are read to their ends first: so the records of a partition key keep their order
over a split or a merge. https://docs.aws.amazon.com/streams/latest/dev/kinesis-using-sdk-java-after-resharding.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from samovar.events.sources.streams.stream import Position, Shard
from samovar.model.event_source import EventSourceMapping


def first_positions(
    mapping: EventSourceMapping, shards: Sequence[Shard], now: float
) -> Mapping[str, Position]:
    """Where a mapping that has read nothing yet begins.

    For one that begins with the latest record, what came before does not matter: shards that are
    closed are done with. Of the others it is kept when that was: after a restart, the latest
    record would be another one."""
    if mapping.starting_position != "LATEST":
        return {}
    return {
        shard.id: Position(done=True) if shard.closed else Position(since=now, latest=True)
        for shard in shards
    }


def begin_position(mapping: EventSourceMapping) -> Position:
    """Where to begin a shard that nothing is kept of: one that was there from the beginning, or
    came out of others that were read to their ends."""
    if mapping.starting_position == "AT_TIMESTAMP" and mapping.starting_timestamp is not None:
        return Position(since=mapping.starting_timestamp.timestamp())
    return Position()


def readable(shards: Sequence[Shard], positions: Mapping[str, Position]) -> Sequence[Shard]:
    """Those that are to be read now: not done with, and nothing left to read before them."""
    there = {shard.id for shard in shards}
    done = {name for name, position in positions.items() if position.done}
    unread = there - done
    return [shard for shard in shards if shard.id in unread and not shard.parents & unread]


def forgettable(shards: Sequence[Shard], positions: Mapping[str, Position]) -> Sequence[str]:
    """Those whose positions are of no use any more: the stream has dropped them."""
    there = {shard.id for shard in shards}
    return [name for name, position in positions.items() if position.done and name not in there]
