"""Where a mapping tells of the records that it goes on without. Pure."""

from __future__ import annotations

from collections.abc import Callable

from samovar.config import no_endpoint
from samovar.model.errors import ErrorCode, PlatformError

SERVICES = frozenset({"sqs", "sns", "s3"})


def check_destination(arn: str, endpoint_of: Callable[[str], str | None]) -> None:
    """Raise INVALID_PARAMETER for an on-failure destination that nothing can be sent to."""
    service = arn.split(":")[2] if arn.startswith("arn:") else arn.split(":", maxsplit=1)[0]
    if service not in SERVICES:
        raise PlatformError(
            ErrorCode.INVALID_PARAMETER,
            f"{service} is not supported as an on-failure destination of an event source mapping: "
            "it is a queue (SQS), a topic (SNS) or a bucket (S3).",
        )
    if endpoint_of(service) is None:
        raise PlatformError(ErrorCode.INVALID_PARAMETER, no_endpoint(service))
