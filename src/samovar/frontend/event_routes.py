"""Events, for those who look after them: what is below `/_samovar/events` and `/_samovar/queues`.

    GET  queues?function=&state=           how many events each function has, in which state
    GET  events?function=&state=&marker=&max_items=     the events, the oldest first
    GET  events/ID                         one of them, with its payload
    POST events/replay  {"ids": […]} or {"function": NAME} or {"all": true}
    POST events/purge   the same, and "state"

`function` may be the ARN of a schedule, too. A replay or a purge does a bounded number at once:
whoever wants all of them asks again, with the `as_of` that it was told, until none is left.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import msgspec

from samovar.clock import Clock
from samovar.event_admin import EventAdmin, EventFilter, KeptEvent, QueueStatus
from samovar.frontend.auth import Caller
from samovar.frontend.names import parse_function_name
from samovar.frontend.own import Route, caller_of, document_in, json_response
from samovar.frontend.request import HttpResponse, Request
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import Event, EventState

MAX_ITEMS = 1000
DEFAULT_ITEMS = 100
AT_ONCE = 1000
"""Events that one request replays or purges."""

Id = Annotated[str, msgspec.Meta(max_length=256)]


class Chosen(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a replay or a purge: exactly one of the first three."""

    ids: Annotated[list[Id], msgspec.Meta(max_length=AT_ONCE)] | None = None
    function: Annotated[str, msgspec.Meta(max_length=2048)] | None = None
    all: bool = False
    state: EventState | None = None
    """Of those to purge; unsaid: any where ids are given, else the dead ones."""
    as_of: float | None = None
    """Not those that have come, or died, since then."""


class EventRoutes:
    """See the module's text."""

    def __init__(self, admin: EventAdmin, clock: Clock) -> None:
        self._admin = admin
        self._clock = clock

    def routes(self) -> Mapping[str, Route]:
        """What `OwnRoutes` takes."""
        return {"events": self.events, "queues": self.queues}

    async def queues(self, request: Request, rest: str) -> HttpResponse:
        """Answer a request below `queues`. Raises `PlatformError`."""
        if request.method != "GET" or rest:
            raise _unknown(request)
        marker, limit = _page(request)
        page = await self._admin.queues(_asked(request), marker=marker, limit=limit)
        return json_response(
            200,
            {
                "now": _iso(self._clock.now()),
                "queues": [_queue(status) for status in page.items],
                "next_marker": page.marker,
            },
        )

    async def events(self, request: Request, rest: str) -> HttpResponse:
        """Answer a request below `events`. Raises `PlatformError`."""
        match request.method, rest:
            case "GET", "":
                return await self._list(request)
            case "GET", _:
                kept = await self._admin.get(_everything(request), _plain(rest))
                return json_response(200, _event(kept) | _payload(kept.event))
            case "POST", "replay":
                chosen = await document_in(request, Chosen)
                if chosen.state not in (None, EventState.DEAD):
                    raise PlatformError(ErrorCode.VALIDATION, "Only dead events are replayed.")
                among = self._some(request, chosen)
                number = await self._admin.replay(among, self._clock.now(), AT_ONCE)
                return json_response(200, {"replayed": number, "as_of": among.until})
            case "POST", "purge":
                among = self._some(request, await document_in(request, Chosen))
                number = await self._admin.purge(among, AT_ONCE)
                return json_response(200, {"purged": number, "as_of": among.until})
        raise _unknown(request)

    async def _list(self, request: Request) -> HttpResponse:
        marker, limit = _page(request)
        page = await self._admin.list(_asked(request), marker=marker, limit=limit)
        events = [_event(kept) for kept in page.items]
        return json_response(200, {"events": events, "next_marker": page.marker})

    def _some(self, request: Request, chosen: Chosen) -> EventFilter:
        """What a body names."""
        until = self._clock.now() if chosen.as_of is None else chosen.as_of
        among = replace(_everything(request), until=until)
        if (chosen.ids is not None) + (chosen.function is not None) + chosen.all != 1:
            raise PlatformError(ErrorCode.VALIDATION, "Say one of ids, function and all.")
        if chosen.ids is not None:
            return replace(among, ids=[_plain(id_) for id_ in chosen.ids], state=chosen.state)
        if chosen.function is not None:
            among = replace(among, queue=_queue_of(chosen.function, caller_of(request)))
        return replace(among, state=chosen.state or EventState.DEAD)


# ---------------------------------------------------------------- requests


def _everything(request: Request) -> EventFilter:
    caller = caller_of(request)
    return EventFilter(_plain(caller.account), _plain(caller.region))


def _asked(request: Request) -> EventFilter:
    """What a query names."""
    among, query = _everything(request), request.query
    if "function" in query:
        among = replace(among, queue=_queue_of(query["function"][0], caller_of(request)))
    if "state" in query:
        among = replace(among, state=_state(query["state"][0]))
    return among


def _queue_of(name: str, caller: Caller) -> str:
    if name.startswith("arn:") and ":function:" not in name:
        return _plain(name)
    return parse_function_name(name, caller)[0].arn


def _plain(text: str) -> str:
    """Refuse what no name is, and some databases could not even be asked for."""
    if not text.isprintable():
        raise PlatformError(ErrorCode.VALIDATION, "A name has no control characters.")
    return text


def _state(text: str) -> EventState:
    try:
        return EventState(text)
    except ValueError as error:
        known = ", ".join(state for state in EventState if state is not EventState.GONE)
        raise PlatformError(ErrorCode.VALIDATION, f"A state is one of {known}.") from error


def _page(request: Request) -> tuple[str | None, int]:
    """The marker and the number of items."""
    wanted = request.query.get("max_items", [str(DEFAULT_ITEMS)])[0]
    known = wanted.isascii() and wanted.isdecimal() and len(wanted) <= len(str(MAX_ITEMS))
    limit = int(wanted) if known else 0
    if not 1 <= limit <= MAX_ITEMS:
        raise PlatformError(ErrorCode.VALIDATION, f"max_items is from 1 to {MAX_ITEMS}.")
    return request.query.get("marker", [None])[0], limit


def _unknown(request: Request) -> PlatformError:
    return PlatformError(ErrorCode.UNKNOWN_OPERATION, f"No such page: {request.raw_path[:200]}")


# ---------------------------------------------------------------- answers


def _queue(status: QueueStatus) -> dict[str, Any]:
    return {
        "queue": status.queue,
        **{state.value: number for state, number in status.counts.items()},
        "oldest_at": _iso(status.oldest_at),
        "next_at": _iso(status.next_at),
    }


def _event(kept: KeptEvent) -> dict[str, Any]:
    event = kept.event
    return {
        "id": event.id,
        "queue": event.queue,
        "target": event.target,
        "source": event.source.value,
        "state": kept.state.value,
        "attempts": event.failures + event.throttles,
        "failures": event.failures,
        "throttles": event.throttles,
        "accepted_at": _iso(event.accepted_at),
        "due_at": _iso(event.due_at) if kept.died_at is None else None,
        "died_at": _iso(kept.died_at),
        "reason": kept.reason,
        "last_error": event.last_error,
        "bytes": kept.size_bytes,
    }


def _payload(event: Event) -> dict[str, Any]:
    """As text where it is some."""
    try:
        return {"payload": event.payload.decode()}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(event.payload).decode()}


def _iso(time: float | None) -> str | None:
    return None if time is None else dt.datetime.fromtimestamp(time, dt.UTC).isoformat()
