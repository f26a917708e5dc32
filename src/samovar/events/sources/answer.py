"""What a function's answer to a batch says of its records: ReportBatchItemFailures. Pure.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
An answer that cannot be understood, or names what was not in the batch, fails all of it: records
come again then, where the other mistake would lose them.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from samovar.events.sources.kafka.record import record_id


class _KafkaItem(msgspec.Struct):
    partition: str
    offset: int


class _Item(msgspec.Struct):
    itemIdentifier: str | _KafkaItem  # noqa: N815 - AWS's name

    @property
    def id(self) -> str:
        named = self.itemIdentifier
        return named if isinstance(named, str) else record_id(named.partition, named.offset)


class _Answer(msgspec.Struct):
    batchItemFailures: list[_Item] | None = None  # noqa: N815 - AWS's name


_answer = msgspec.json.Decoder(_Answer | None)


def failed_ids(answer: bytes, ids: Collection[str]) -> frozenset[str]:
    """Those of the `ids` of a batch that are to be tried again, says its function's `answer`."""
    everything = frozenset(ids)
    if not answer:
        return frozenset()
    try:
        understood = _answer.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return everything
    if understood is None or understood.batchItemFailures is None:
        return frozenset()
    named = frozenset(item.id for item in understood.batchItemFailures)
    return named if named <= everything else everything
