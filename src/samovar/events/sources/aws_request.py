"""One request to a service that records come from, and what may go wrong with it.

A service is not trusted: its answer may lack anything, and botocore may then fail in any way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
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


@contextlib.contextmanager
def understanding(what: str) -> Iterator[None]:
    """Raise `SourceError` where an answer is not what it should be."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SourceError(f"the service has sent what is no {what}") from error


def listed(answer: Mapping[str, Any], member: str) -> Sequence[Mapping[str, Any]]:
    """The structures in a list of an answer; none where there is no list. Raises TypeError."""
    found = answer.get(member) or ()
    if not isinstance(found, list | tuple) or not all(isinstance(each, dict) for each in found):
        raise TypeError(f"{member} is no list of structures")
    return found


def text_in(answer: Mapping[str, Any], member: str) -> str:
    """Raises KeyError and TypeError where there is none."""
    found = answer[member]
    if not isinstance(found, str):
        raise TypeError(f"{member} is no text")
    return found


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
