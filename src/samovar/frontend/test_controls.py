"""What `samovar up --test-controls` adds below `/_samovar/test/`, for the tests of its users.

GET  clock                            what time it is
POST clock  {"advance_s": N}          let N seconds have passed
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, TypeVar

import msgspec

from samovar.clock import Clock
from samovar.frontend.own import json_response
from samovar.frontend.request import HttpResponse, Request
from samovar.model.errors import ErrorCode, PlatformError

MAX_BODY_BYTES = 64 * 1024
MAX_ADVANCE_S = 366 * 86400.0
"""In one step."""
MAX_AHEAD_S = 100 * MAX_ADVANCE_S
"""In all: times must stay such that everybody can write them down."""

Asked = TypeVar("Asked")


class Advance(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST clock`."""

    advance_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_ADVANCE_S)]


class ControlRoutes:
    """See the module's text."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, request: Request, rest: str) -> HttpResponse:
        """Answer one request. Raises `PlatformError`."""
        match request.method, rest:
            case "GET", "clock":
                return self._time()
            case "POST", "clock":
                return await self._advance(await _asked(request, Advance))
        raise PlatformError(ErrorCode.UNKNOWN_OPERATION, f"No such page: {request.raw_path[:200]}")

    def _time(self) -> HttpResponse:
        now = dt.datetime.fromtimestamp(self._clock.now(), dt.UTC)
        return json_response(200, {"now": now.isoformat(), "ahead_s": self._clock.ahead_s})

    async def _advance(self, asked: Advance) -> HttpResponse:
        if self._clock.ahead_s + asked.advance_s > MAX_AHEAD_S:
            raise PlatformError(
                ErrorCode.VALIDATION, f"The clock goes no more than {MAX_AHEAD_S:.0f} s ahead."
            )
        self._clock.advance(asked.advance_s)
        await self._clock.settled()
        return self._time()


async def _asked(request: Request, kind: type[Asked]) -> Asked:
    body = await request.body(MAX_BODY_BYTES, f"At most {MAX_BODY_BYTES} bytes are read here.")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlatformError(
            ErrorCode.VALIDATION, f"The body is not as it should be: {error}"
        ) from error
