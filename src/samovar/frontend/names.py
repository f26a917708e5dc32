"""The ways to name a function: name, partial ARN, ARN, each with a qualifier or without.

https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_RequestParameters
"""

from __future__ import annotations

import functools
import re

from samovar.frontend.auth import Caller
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionId

_QUALIFIER = re.compile(r"[a-zA-Z0-9$_.-]{1,128}")
_NAME = re.compile(
    r"(?:(?:arn:aws[a-zA-Z-]*:lambda:(?P<region>[a-z0-9-]+):)?(?P<account>\d{12}):)?"
    r"(?:(?P<function>function):)?"
    r"(?P<name>[a-zA-Z0-9-_]{1,64})"
    r"(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]{1,128}))?",
    re.ASCII,
)


@functools.lru_cache(maxsize=4096)
def parse_function_name(
    raw: str, caller: Caller, qualifier: str | None = None
) -> tuple[FunctionId, str | None]:
    """Return the function and the qualifier that `raw` and `qualifier` name together.

    Raises VALIDATION for what is no function name, INVALID_PARAMETER where the two qualifiers
    differ, NOT_FOUND for another region's function and ACCESS_DENIED for another account's.
    """
    match = _NAME.fullmatch(raw)
    if match is None or (match["account"] and not match["function"]):
        raise PlatformError(
            ErrorCode.VALIDATION,
            f"1 validation error detected: Value '{raw[:200]}' at 'functionName' failed to satisfy "
            "constraint: Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:"
            "lambda:)?([a-z]{2}(-gov)?-[a-z]+-\\d{1}:)?(\\d{12}:)?(function:)?([a-zA-Z0-9-_]+)"
            "(:(\\$LATEST|[a-zA-Z0-9-_]+))?",
        )
    if qualifier and not _QUALIFIER.fullmatch(qualifier):
        raise PlatformError(
            ErrorCode.VALIDATION,
            f"1 validation error detected: Value '{qualifier[:200]}' at 'qualifier' failed to "
            "satisfy constraint: Member must satisfy regular expression pattern: "
            "\\$(LATEST(\\.PUBLISHED)?)|[a-zA-Z0-9-_$]+",
        )
    if match["region"] and match["region"] != caller.region:
        raise PlatformError(
            ErrorCode.NOT_FOUND,
            f"Functions from '{match['region']}' are not reachable in this region "
            f"('{caller.region}')",
        )
    if match["account"] and match["account"] != caller.account:
        raise PlatformError(
            ErrorCode.ACCESS_DENIED,
            f"User: arn:aws:iam::{caller.account}:root is not authorized to access the functions "
            f"of account {match['account']}",
        )
    inner = match["qualifier"]
    if inner and qualifier and inner != qualifier:
        raise PlatformError(
            ErrorCode.INVALID_PARAMETER,
            "The derived qualifier from the function name does not match the specified qualifier.",
        )
    return caller.function(match["name"]), qualifier or inner


def parse_unqualified(raw: str, caller: Caller) -> FunctionId:
    """The function that `raw` names, for operations on the whole of it. Raises as above, and
    INVALID_PARAMETER where a qualifier is named."""
    function, qualifier = parse_function_name(raw, caller)
    if qualifier is not None:
        raise PlatformError(
            ErrorCode.INVALID_PARAMETER,
            "This operation does not permit a qualifier on the function's name.",
        )
    return function
