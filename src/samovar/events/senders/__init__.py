"""How events get to targets that are no functions: one module a service, and the table of them.

Whether a failure is passing or lasting: a target that is not there, or does not take such a
message, never will; everything else may be over the next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from samovar.events.clients import AwsClients
from samovar.events.senders.eventbridge import put_event
from samovar.events.senders.hanging import Hanging
from samovar.events.senders.s3 import put_object
from samovar.events.senders.sns import publish
from samovar.events.senders.sqs import QueueUrls
from samovar.events.sending import SendError
from samovar.model.arn import Arn
from samovar.model.errors import PlatformError
from samovar.model.event import Event

SEND_LIMIT_S = 20.0

Send = Callable[[Any, Arn, Event], Awaitable[None]]
"""Sends an event with a client of its target's service."""

LASTING_CODES = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "NonExistentQueue",
        "NotFound",
        "NotFoundException",
        "NoSuchBucket",
        "ResourceNotFoundException",
        "InvalidMessageContents",
        "InvalidParameter",
        "InvalidParameterValue",
        "InvalidParameterException",
        "InvalidAttributeValue",
        "MissingParameter",
        "AWS.SimpleQueueService.UnsupportedOperation",
        "MalformedDetail",
        "ValidationException",
        "EntityTooLarge",
        "InvalidBucketName",
    }
)
"""Of errors that services answer with."""


class Senders:
    """The `Sender` of everything that this server can send to."""

    def __init__(self, clients: AwsClients, *, limit_s: float = SEND_LIMIT_S) -> None:
        """`limit_s`: how long one sending may take."""
        self._clients = clients
        self._limit_s = limit_s
        self._hanging = Hanging()
        self._senders: Mapping[str, Send] = {
            "sqs": QueueUrls().send_message,
            "sns": publish,
            "events": put_event,
            "s3": put_object,
        }

    async def send(self, event: Event) -> None:
        """See `Sender`."""
        target = Arn.parse(event.target)
        send = self._senders.get(target.service) if target is not None else None
        if target is None or send is None:
            raise SendError(f"Nothing can be sent to {event.target[:400]}.", lasting=True)
        source = Arn.parse(event.queue)
        region = target.region or (source.region if source is not None else "") or "us-east-1"
        try:
            with self._hanging.finding_out(target.service):
                await self._send(send, target, region, event)
        except SendError:
            raise
        except PlatformError as error:  # nobody has said where the service is: somebody may yet
            raise SendError(error.message) from error
        except TimeoutError as error:
            raise SendError(f"{event.target} did not answer in time.") from error
        except Exception as error:
            raise _refused(event, error) from error

    async def _send(self, send: Send, target: Arn, region: str, event: Event) -> None:
        """Raises `TimeoutError` where the service does not answer; and all that can go wrong."""
        async with (
            asyncio.timeout(self._limit_s),
            self._clients.client(target.service, region) as client,
        ):
            from botocore.exceptions import ReadTimeoutError

            try:
                await send(client, target, event)
            except ReadTimeoutError as error:
                raise TimeoutError from error


def _refused(event: Event, error: Exception) -> SendError:
    """An error of the client as ours. Of an answer that makes no sense it can be any."""
    from botocore.exceptions import ClientError, ParamValidationError, ValidationError

    message = f"{event.target} was not reached: {type(error).__name__}: {error}"[:1024]
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        return SendError(message, lasting=code in LASTING_CODES)
    return SendError(message, lasting=isinstance(error, ParamValidationError | ValidationError))
