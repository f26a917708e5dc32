"""What becomes of a batch of a shard, or of a partition of Kafka, after an attempt. Pure: whoever
reads them performs it.

https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
A batch is tried again where it stands, and what comes after it waits, until its attempts are used
up or its records are too old. A batch that was not begun uses up no attempt. Splitting does not,
either. Where the function says which records have failed, everything before the first of them is
done, and it goes on with that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from samovar.events.sources.poller import BatchResult, Ending
from samovar.events.sources.record import Record
from samovar.model.event_source import EventSourceMapping

FOREVER = -1
FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 60.0


def back_off_s(waits: int) -> float:
    """How long the wait of this number is: the first is 1."""
    return min(FIRST_BACK_OFF_S * 2.0 ** min(waits - 1, 10), LONGEST_BACK_OFF_S)


@dataclass(frozen=True, slots=True)
class Work:
    """Records to deliver together."""

    records: Sequence[Record]
    failures: int = 0
    """Attempts that have failed."""
    waits: int = 0
    """Times that it was put off, since it was made."""
    result: BatchResult | None = None
    """Of its last attempt."""

    @property
    def back_off_s(self) -> float:
        """How long to wait before its next attempt."""
        return back_off_s(self.waits)


@dataclass(frozen=True, slots=True)
class Next:
    """What to do, in this order."""

    done: Sequence[Record] = ()
    given_up: Work | None = None
    again: Sequence[Work] = ()


def after(work: Work, result: BatchResult, mapping: EventSourceMapping) -> Next:
    """What an attempt leads to."""
    records = work.records
    match result.ending:
        case Ending.SUCCEEDED:
            return Next(done=records)
        case Ending.NOT_BEGUN:
            return Next(again=[Work(records, work.failures, work.waits + 1, work.result)])
        case Ending.PARTLY_FAILED:
            first = next(at for at, record in enumerate(records) if record.id in result.failed)
            if first:
                rest = Work(records[first:], 1, 1, result)
                return _again_or_given_up(rest, mapping, done=records[:first])
        case Ending.FAILED:
            if mapping.bisect and len(records) > 1:
                middle = len(records) // 2
                halves = (records[:middle], records[middle:])
                return Next(again=[Work(half, work.failures, 0, result) for half in halves])
    return _again_or_given_up(Work(records, work.failures + 1, work.waits + 1, result), mapping)


def _again_or_given_up(
    work: Work, mapping: EventSourceMapping, done: Sequence[Record] = ()
) -> Next:
    most = FOREVER if mapping.max_retries is None else mapping.max_retries
    if most != FOREVER and work.failures > most:
        return Next(done=done, given_up=work)
    return Next(done=done, again=[work])


def without_old(work: Work, max_age_s: float, now: float) -> tuple[Work | None, Work | None]:
    """What is too old of it, and the rest."""
    old = [record for record in work.records if _age_s(record, now) > max_age_s]
    if not old:
        return None, work
    rest = [record for record in work.records if _age_s(record, now) <= max_age_s]
    kept = Work(rest, work.failures, work.waits, work.result) if rest else None
    return Work(old, work.failures, work.waits, work.result), kept


def _age_s(record: Record, now: float) -> float:
    return 0.0 if record.arrived_at is None else now - record.arrived_at
