"""What a client has configured for a function's asynchronous invocations.

https://docs.aws.amazon.com/lambda/latest/api/API_FunctionEventInvokeConfig.html
"""

from __future__ import annotations

import datetime as dt

import msgspec

from samovar.model.function import FunctionId


class EventInvokeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of a version or an alias: of events that are sent to that qualifier.
    None: AWS's default, or no destination."""

    function: FunctionId
    qualifier: str
    """`$LATEST`, a number or an alias."""
    last_modified: dt.datetime
    max_retries: int | None = None
    max_age_s: int | None = None
    on_success_arn: str | None = None
    on_failure_arn: str | None = None
