"""Where the ends of events may be told: destinations and dead-letter queues, checked.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from samovar.config import no_endpoint
from samovar.frontend.auth import Caller
from samovar.frontend.names import parse_function_name
from samovar.frontend.operations.configuration import invalid
from samovar.frontend.operations.control import Control, Params
from samovar.model.arn import Arn
from samovar.model.function import LATEST

ON_SUCCESS = ("lambda", "sqs", "sns", "events")
ON_FAILURE = (*ON_SUCCESS, "s3")
DEAD_LETTER = ("sqs", "sns")

_RESOURCES: Mapping[str, re.Pattern[str]] = {
    "lambda": re.compile(r"function:[\w-]{1,64}(:[\w$-]{1,128})?", re.ASCII),
    "sqs": re.compile(r"[\w-]{1,80}(\.fifo)?", re.ASCII),
    "sns": re.compile(r"[\w-]{1,256}(\.fifo)?", re.ASCII),
    "events": re.compile(r"event-bus/[\w./-]{1,256}", re.ASCII),
    "s3": re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"),
}


async def check_destination(
    control: Control, caller: Caller, text: str, services: tuple[str, ...]
) -> None:
    """Raise INVALID_PARAMETER for what is no destination of one of these services, or is one that
    this server could not tell anything."""
    arn = Arn.parse(text)
    if (
        arn is None
        or arn.service not in services
        or not _RESOURCES[arn.service].fullmatch(arn.resource)
        or (arn.service != "s3" and not (arn.region and arn.account))
    ):
        raise invalid(
            f"The destination ARN {text[:350]} is invalid. It may be one of: {', '.join(services)}."
        )
    if arn.resource.endswith(".fifo"):
        raise invalid(f"The destination ARN {text} is invalid: FIFO is not supported here.")
    if arn.service == "lambda":
        function, qualifier = parse_function_name(text, caller)
        await control.catalog.read_primary(function, qualifier or LATEST)
    elif control.endpoint_of(arn.service) is None:
        raise invalid(no_endpoint(arn.service))


async def check_dead_letter(control: Control, caller: Caller, params: Params) -> None:
    """Raise INVALID_PARAMETER for a DeadLetterConfig that could not be enforced."""
    if arn := (params.get("DeadLetterConfig") or {}).get("TargetArn"):
        await check_destination(control, caller, arn, DEAD_LETTER)
