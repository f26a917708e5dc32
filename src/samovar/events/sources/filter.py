"""Which records go to the function: the patterns of FilterCriteria. Pure, bounded in time.

A record goes through where any of the patterns lets it through. A pattern sees a record's fields;
those that hold what its sender wrote are JSON or plain text, as the pattern expects them: where a
rule looks into one and it is no JSON, or the other way round, the record is dropped. Where it
cannot be told in time whether a record matches, it goes through: nothing is lost then.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from samovar.events.sources.content import Content
from samovar.events.sources.pattern import (
    PatternError,
    Steps,
    TooMuchError,
    compile_pattern,
)
from samovar.events.sources.record import Record
from samovar.model.event_source import MAX_FILTERS

MAX_PATTERN_CHARS = 4096

__all__ = [
    "Filters",
    "PatternError",
    "admitted",
    "sort_out",
]

LARGE_RECORD_BYTES = 8 * 1024


async def admitted(record: Record, admits: Callable[[Record], bool]) -> bool:
    """Whether a record goes to the function. A large one is looked at in a thread: nobody else
    waits for it."""
    if len(record.json) > LARGE_RECORD_BYTES:
        return await asyncio.to_thread(admits, record)
    return admits(record)


async def sort_out(
    records: Sequence[Record], admits: Callable[[Record], bool]
) -> tuple[list[Record], list[Record]]:
    """Those that go to the function, and the others. Many small ones take their time, too: others
    have their turns in between."""
    wanted: list[Record] = []
    unwanted: list[Record] = []
    for record in records:
        (wanted if await admitted(record, admits) else unwanted).append(record)
        await asyncio.sleep(0)
    return wanted, unwanted


class Filters:
    """The patterns of one mapping, compiled."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Raises `PatternError`."""
        if len(patterns) > MAX_FILTERS or any(len(p) > MAX_PATTERN_CHARS for p in patterns):
            raise PatternError("too many patterns, or too long")
        self._patterns = [compile_pattern(pattern) for pattern in patterns]

    def admit(self, record: Record) -> bool:
        """Whether the record goes to the function."""
        if not self._patterns:
            return True
        contents = {name: Content(raw) for name, raw in record.contents.items()}
        event = {**record.seen, **contents}
        steps = Steps()
        try:
            return any(pattern.matches(event, steps) for pattern in self._patterns)
        except (TooMuchError, RecursionError):
            return True
