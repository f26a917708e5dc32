"""`samovar events`: shows what becomes of asynchronous invocations, replays and purges."""

from __future__ import annotations

import base64
import datetime as dt
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from samovar.cli.endpoint import Endpoint
from samovar.cli.failure import CommandError
from samovar.cli.printable import printable
from samovar.cli.table import table

Chosen = Mapping[str, Any]
"""Some events: the body of a replay or a purge."""

STATES = ("queued", "running", "retrying", "dead")
QUEUE_COLUMNS = ("FUNCTION", *(state.upper() for state in STATES), "OLDEST", "NEXT")
EVENT_COLUMNS = ("ID", "FUNCTION", "STATE", "ATTEMPTS", "ACCEPTED", "NEXT OR DIED", "WHY")
PAGE_ITEMS = 1000
WHY_CHARS = 80


def ls(
    endpoint: Endpoint,
    function: str | None,
    state: str | None,
    *,
    limit: int,
    after: str | None,
    as_json: bool,
) -> str:
    """Return the counts of each function and at most `limit` events; only headings where there
    are none."""
    asked = {"function": function, "state": state}
    now, queues = _queues(endpoint, asked)
    events, marker = _events(endpoint, asked, limit, after)
    if as_json:
        return _document({"queues": queues, "events": events, "next_marker": marker})
    lines = [table([QUEUE_COLUMNS, *(_queue_row(queue, now) for queue in queues)])]
    if events:
        lines += ["", table([EVENT_COLUMNS, *map(_event_row, events)])]
    if marker is not None and limit:
        lines += ["", f"there are more: --after {marker}"]
    return "\n".join(lines)


def show(endpoint: Endpoint, id_: str, *, as_json: bool) -> str:
    """Return all that is known of an event."""
    event = _get(endpoint, id_)
    if as_json:
        return _document(event)
    payload = _payload_text(event)
    facts = [(name, str(value)) for name, value in event.items() if value is not None]
    shown = [(f"{name}:", printable(value, one_line=True)) for name, value in facts]
    rows = [row for row in shown if not row[0].startswith("payload")]
    return f"{table(rows)}\n\n{payload}"


def write_payload(endpoint: Endpoint, id_: str) -> None:
    """Write an event's payload to stdout, byte for byte unless that is a terminal."""
    event = _get(endpoint, id_)
    if sys.stdout.isatty():
        sys.stdout.write(f"{_payload_text(event)}\n")
        return
    sys.stdout.buffer.write(_payload(event))
    sys.stdout.buffer.flush()


def choose(
    ids: Sequence[str] | None, function: str | None, everything: bool, state: str | None = None
) -> Chosen:
    """The events that flags name. Raises `CommandError` where they do not name one thing."""
    named: list[Chosen] = []
    if ids:
        named.append({"ids": list(ids)})
    if function:
        named.append({"function": function})
    if everything:
        named.append({"all": True})
    if len(named) != 1:
        raise CommandError(
            "which events is not clear", "say ID…, --function NAME or --all", exit_status=2
        )
    return {**named[0], "state": state} if state else named[0]


def count(endpoint: Endpoint, chosen: Chosen) -> str:
    """How many events those are, in words."""
    if "ids" in chosen:
        number, state = len(chosen["ids"]), chosen.get("state", "")
    else:
        state = chosen.get("state", "dead")
        _, queues = _queues(endpoint, {"function": chosen.get("function"), "state": state})
        number = sum(queue[state] for queue in queues)
    kind = f"{state} event" if state else "event"
    of = f" of {printable(chosen['function'], one_line=True)}" if "function" in chosen else ""
    return f"{number} {kind}{'' if number == 1 else 's'}{of}"


def replay(endpoint: Endpoint, chosen: Chosen, *, as_json: bool) -> str:
    """Have dead events tried again; return how many."""
    return _until_done(endpoint, "replay", "replayed", chosen, as_json=as_json)


def purge(endpoint: Endpoint, chosen: Chosen, *, as_json: bool) -> str:
    """Forget events; return how many."""
    return _until_done(endpoint, "purge", "purged", chosen, as_json=as_json)


# ---------------------------------------------------------------- the server


def _until_done(endpoint: Endpoint, verb: str, done: str, chosen: Chosen, *, as_json: bool) -> str:
    number, step = 0, 1
    while step:
        try:
            answer = _ask(endpoint, f"events/{verb}", body=chosen)
        except CommandError as error:
            if not number:
                raise
            raise CommandError(f"{error.message} ({number} {done} before that)") from error
        step, chosen = answer[done], {**chosen, "as_of": answer["as_of"]}
        number += step
    if not number and "ids" in chosen:
        what = "dead event" if verb == "replay" else "event"
        raise CommandError(f"no {what} has such an ID", "`samovar events ls` lists them")
    return _document({done: number}) if as_json else f"{number} {done}"


def _get(endpoint: Endpoint, id_: str) -> dict[str, Any]:
    return _ask(endpoint, f"events/{quote(id_, safe='')}")


def _queues(
    endpoint: Endpoint, asked: Mapping[str, str | None]
) -> tuple[dt.datetime, list[dict[str, Any]]]:
    """The server's time, and all queues that have such events."""
    queues: list[dict[str, Any]] = []
    marker: str | None = None
    while True:
        answer = _ask(endpoint, "queues", {**asked, "max_items": str(PAGE_ITEMS), "marker": marker})
        queues += answer["queues"]
        marker = answer["next_marker"]
        if marker is None:
            return dt.datetime.fromisoformat(answer["now"]), queues


def _events(
    endpoint: Endpoint, asked: Mapping[str, str | None], limit: int, marker: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """At most so many events, and the marker to go on with."""
    events: list[dict[str, Any]] = []
    while len(events) < limit:
        wanted = str(min(PAGE_ITEMS, limit - len(events)))
        answer = _ask(endpoint, "events", {**asked, "max_items": wanted, "marker": marker})
        events += answer["events"]
        marker = answer["next_marker"]
        if marker is None:
            break
    return events, marker


def _ask(
    endpoint: Endpoint,
    path: str,
    query: Mapping[str, str | None] | None = None,
    body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    target = f"/_samovar/{path}?{urlencode(endpoint.scope() | given)}"
    raw = None if body is None else json.dumps(body).encode()
    with endpoint.ask(target, method="GET" if body is None else "POST", body=raw) as response:
        answer = json.loads(response.read())
    return answer if isinstance(answer, dict) else {}


# ---------------------------------------------------------------- what a person reads


def _document(value: Mapping[str, Any]) -> str:
    """JSON that a terminal acts on nowhere: whatever is not ASCII is escaped."""
    return json.dumps(value, indent=2)


def _queue_row(queue: Mapping[str, Any], now: dt.datetime) -> Sequence[str]:
    counts = [str(queue[state]) for state in STATES]
    return (_name(queue["queue"]), *counts, _age(queue["oldest_at"], now), _time(queue["next_at"]))


def _event_row(event: Mapping[str, Any]) -> Sequence[str]:
    why = ": ".join(part for part in (event["reason"], event["last_error"]) if part)
    shown = printable(why, one_line=True)
    return (
        printable(event["id"], one_line=True),
        _name(event["queue"]),
        event["state"],
        str(event["attempts"]),
        _time(event["accepted_at"]),
        _time(event["died_at"] or event["due_at"]),
        (shown if len(shown) <= WHY_CHARS else f"{shown[: WHY_CHARS - 1]}…") or "-",
    )


def _name(arn: str) -> str:
    """Of a function its name, of anything else what its ARN ends with."""
    return printable(arn.split(":", 6)[-1] if arn.startswith("arn:") else arn, one_line=True)


def _time(iso: str | None) -> str:
    return "-" if iso is None else iso[:19].replace("T", " ")


def _age(iso: str | None, now: dt.datetime) -> str:
    if iso is None:
        return "-"
    minutes, seconds = divmod(
        max(0, int((now - dt.datetime.fromisoformat(iso)).total_seconds())), 60
    )
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
    first = next((i for i, (number, _) in enumerate(parts) if number), 3)
    return " ".join(f"{number}{unit}" for number, unit in parts[first : first + 2])


def _payload(event: Mapping[str, Any]) -> bytes:
    if "payload" in event:
        return str(event["payload"]).encode()
    return base64.b64decode(event["payload_base64"])


def _payload_text(event: Mapping[str, Any]) -> str:
    return printable(_payload(event).decode(errors="backslashreplace"))
