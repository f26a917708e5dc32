"""One request to a service that records come from, and what may go wrong with it.

A service is not trusted: its answer may lack anything, and botocore may then fail in any way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from samovar.events.sources.poller import SourceError
from samovar.model.errors import ErrorCode, PlatformError

MAX_MESSAGE_CHARS = 500

Call = Callable[..., Awaitable[Any]]


async def ask(call: Call, /, **params: Any) -> Mapping[str, Any]:
    """The answer to `client.operation(…)`. Raises `SourceError`, with AWS's code where there is
    one."""
    from botocore.exceptions import ClientError

    try:
        answer = await call(**params)
    except ClientError as error:
        found = error.response.get("Error", {}) if isinstance(error.response, dict) else {}
        code, message = str(found.get("Code", "Unknown")), str(found.get("Message", ""))
        raise SourceError(f"{code}: {message}"[:MAX_MESSAGE_CHARS], code=code) from error
    except PlatformError:
        raise
    except Exception as error:
        raise SourceError(f"{type(error).__name__}: {error}"[:MAX_MESSAGE_CHARS]) from error
    return answer if isinstance(answer, dict) else {}


def refused(error: SourceError, action: str, service: str) -> PlatformError:
    """The INVALID_PARAMETER for a mapping whose source cannot be read, as AWS words it."""
    if error.code is None:
        return PlatformError(ErrorCode.INVALID_PARAMETER, f"{service} cannot be reached: {error}")
    message = str(error).removeprefix(f"{error.code}: ")
    return PlatformError(
        ErrorCode.INVALID_PARAMETER,
        f"Error occurred while {action}. {service} Error Code: {error.code}. "
        f"{service} Error Message: {message}",
    )
