"""What `samovar up --test-controls` adds below `/_samovar/test/`, for the tests of its users.

GET    clock                            what time it is
POST   clock  {"advance_s": N}          let N seconds have passed
POST   settle {"timeout_s": N}          wait until nothing is due or under way
GET    faults                           what is pending
POST   faults/NAME[:QUALIFIER] {"fault": "cold-start" | "throttle" | "crash", "times": N}
DELETE faults[/NAME[:QUALIFIER]]        forget what is pending
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec

from samovar.clock import Clock
from samovar.frontend.faults import Fault, Faults, Pending, described
from samovar.frontend.invoker import Invoking
from samovar.frontend.names import parse_function_name
from samovar.frontend.own import caller_of, document_in, json_response
from samovar.frontend.request import HttpResponse, Request
from samovar.model.errors import ErrorCode, PlatformError

MAX_ADVANCE_S = 366 * 86400.0
"""In one step."""
MAX_AHEAD_S = 100 * MAX_ADVANCE_S
"""In all: times must stay such that everybody can write them down."""
DEFAULT_SETTLE_S = 10.0
MAX_SETTLE_S = 60.0
LOOK_AGAIN_S = 0.01
MAX_TIMES = 1_000_000

AtRest = Callable[[float], Awaitable[bool]]
"""Whether nothing is due by a time, or under way."""


class Advance(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST clock`."""

    advance_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_ADVANCE_S)]


class Settle(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST settle`."""

    timeout_s: Annotated[float, msgspec.Meta(ge=0, le=MAX_SETTLE_S)] = DEFAULT_SETTLE_S


class AskFault(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST faults/NAME`."""

    fault: Fault
    times: Annotated[int, msgspec.Meta(ge=1, le=MAX_TIMES)] = 1


class ControlRoutes:
    """See the module's text."""

    def __init__(self, invoker: Invoking, clock: Clock, faults: Faults, at_rest: AtRest) -> None:
        self._invoker = invoker
        self._clock = clock
        self._faults = faults
        self._at_rest = at_rest

    async def __call__(self, request: Request, rest: str) -> HttpResponse:
        """Answer one request. Raises `PlatformError`."""
        noun, _, name = rest.partition("/")
        match request.method, noun, name:
            case "GET", "clock", "":
                return self._time()
            case "POST", "clock", "":
                return await self._advance(await document_in(request, Advance))
            case "POST", "settle", "":
                return await self._settle(await document_in(request, Settle))
            case "GET", "faults", "":
                return self._pending()
            case "POST", "faults", _ if name:
                return await self._have_fault(request, name)
            case "DELETE", "faults", _:
                return self._forget(request, name)
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

    async def _settle(self, asked: Settle) -> HttpResponse:
        """By the machine's time, which does not jump."""
        settled = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(asked.timeout_s):
                # Nobody tells of what only the database knows: hence the looking.
                while not (settled := await self._at_rest(self._clock.now())):  # noqa: ASYNC110
                    await asyncio.sleep(LOOK_AGAIN_S)
        return json_response(200, {"settled": settled})

    def _pending(self) -> HttpResponse:
        return json_response(200, {"pending": described(self._faults.pending())})

    async def _have_fault(self, request: Request, name: str) -> HttpResponse:
        asked = await document_in(request, AskFault)
        function, qualifier = parse_function_name(name, caller_of(request))
        await self._invoker.resolve(function, qualifier)  # NOT_FOUND where there is none
        self._faults.ask(Pending(function, qualifier, asked.fault, asked.times))
        return self._pending()

    def _forget(self, request: Request, name: str) -> HttpResponse:
        named = parse_function_name(name, caller_of(request)) if name else None
        self._faults.clear(
            lambda pending: (
                named is None
                or (pending.function == named[0] and named[1] in (None, pending.qualifier))
            )
        )
        return self._pending()
