"""Universal targets: an API operation that a schedule calls, with its request as the input.

    arn:aws:scheduler:::aws-sdk:sqs:sendMessage   {"QueueUrl": "https://…", "MessageBody": "tea"}

Those that come to the same as reaching a target of this server are understood, with the members
that it can honour; all others are refused.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

PREFIX = "arn:aws:scheduler:::aws-sdk:"


class UniversalTargetError(ValueError):
    """A call that cannot be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a call comes to: as of an event."""

    target: str
    payload: str
    attributes: Mapping[str, str] = field(default_factory=dict)


class _Invoke(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    function_name: str
    invocation_type: Literal["Event"]
    payload: str = "{}"
    qualifier: str | None = None

    def call(self, place: str) -> Call:
        arn = self.function_name
        if not arn.startswith("arn:"):
            arn = f"arn:aws:lambda:{place}:function:{arn}"
        return Call(arn if self.qualifier is None else f"{arn}:{self.qualifier}", self.payload)


class _SendMessage(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    queue_url: str
    message_body: str
    message_group_id: str | None = None

    def call(self, place: str) -> Call:
        account, _, name = urlsplit(self.queue_url).path.strip("/").partition("/")
        group = {} if self.message_group_id is None else {"MessageGroupId": self.message_group_id}
        region = place.partition(":")[0]
        return Call(f"arn:aws:sqs:{region}:{account}:{name}", self.message_body, group)


class _Publish(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    topic_arn: str
    message: str

    def call(self, place: str) -> Call:
        return Call(self.topic_arn, self.message)


class _Entry(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    source: str
    detail_type: str
    detail: str
    event_bus_name: str = "default"


class _PutEvents(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    entries: Annotated[list[_Entry], msgspec.Meta(min_length=1, max_length=1)]

    def call(self, place: str) -> Call:
        entry = self.entries[0]
        bus = entry.event_bus_name
        if not bus.startswith("arn:"):
            bus = f"arn:aws:events:{place}:event-bus/{bus}"
        return Call(bus, entry.detail, {"Source": entry.source, "DetailType": entry.detail_type})


REQUESTS: Mapping[str, type[_Invoke | _SendMessage | _Publish | _PutEvents]] = {
    "lambda:invoke": _Invoke,
    "sqs:sendMessage": _SendMessage,
    "sns:publish": _Publish,
    "eventbridge:putEvents": _PutEvents,
}


def universal_call(arn: str, text: str | None, place: str) -> Call:
    """What a universal target with this input comes to; `place`: REGION:ACCOUNT of the schedule.
    Raises `UniversalTargetError`."""
    action = arn.removeprefix(PREFIX)
    request = REQUESTS.get(action)
    if request is None:
        raise UniversalTargetError(
            f"of the universal targets, this server has {', '.join(REQUESTS)}"
        )
    try:
        return msgspec.json.decode(text or "{}", type=request).call(place)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UniversalTargetError(f"the Input is no request of {action}: {error}") from error
