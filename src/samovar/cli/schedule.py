"""`samovar schedule`: makes, lists, shows, pauses and deletes schedules."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from samovar.cli.endpoint import Endpoint
from samovar.cli.failure import CommandError
from samovar.cli.invoke import read_payload
from samovar.cli.printable import printable
from samovar.cli.table import table

COLUMNS = ("NAME", "WHEN", "TIME ZONE", "TARGET", "NEXT", "MISSED")

ROLE = "arn:aws:iam::000000000000:role/samovar"
"""The API wants one; nobody asks it."""

DEFAULT_GROUP = "default"

NEXT_STEP = "`samovar schedule ls` lists the schedules"


def expression_of(rate: str | None, cron: str | None, at: str | None) -> str:
    """The schedule expression of the one that is given. Raises `CommandError`."""
    given = [
        f"{kind}({value})" for kind, value in (("rate", rate), ("cron", cron), ("at", at)) if value
    ]
    if len(given) != 1:
        raise CommandError("say one of --rate, --cron and --at", exit_status=2)
    return given[0]


def add(
    endpoint: Endpoint,
    name: str,
    function: str,
    expression: str,
    timezone: str,
    payload: str | None,
    window_minutes: int | None,
) -> str:
    """Make a schedule for a function that is there; return what was done."""
    target = {"Arn": _function_arn(endpoint, function), "RoleArn": ROLE}
    if payload is not None:
        target["Input"] = read_payload(payload).decode(errors="replace")
    flexible: dict[str, Any] = {"Mode": "OFF"}
    if window_minutes is not None:
        flexible = {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": window_minutes}
    client = endpoint.scheduler_client()
    with endpoint.answers(NEXT_STEP):
        client.create_schedule(
            **_named(name),
            ScheduleExpression=expression,
            ScheduleExpressionTimezone=timezone,
            FlexibleTimeWindow=flexible,
            Target=target,
        )
    return f"{name} added: {function}, next {_next(_own(endpoint, name))}"


def ls(endpoint: Endpoint) -> str:
    """Return the table of all schedules; only its heading where there are none."""
    rows: list[Sequence[str]] = [COLUMNS]
    for schedule in _all(endpoint):
        group, name = schedule["group"], schedule["name"]
        rows.append(
            (
                name if group == DEFAULT_GROUP else f"{group}/{name}",
                schedule["expression"],
                schedule["timezone"],
                _short(schedule["target"]),
                _next(schedule),
                str(schedule["missed"]),
            )
        )
    return table(rows)


def show(endpoint: Endpoint, name: str) -> str:
    """Return what there is to know of one, a line each."""
    own = _own(endpoint, name)
    client = endpoint.scheduler_client()
    with endpoint.answers(NEXT_STEP):
        whole = client.get_schedule(**_named(name))
    whole.pop("ResponseMetadata")
    whole |= {"Next": _next(own), "Missed": own["missed"]}
    return table([(member, _text(value)) for member, value in whole.items()])


def set_state(endpoint: Endpoint, name: str, state: str) -> str:
    """Pause a schedule, or let it go on; return what was done."""
    client = endpoint.scheduler_client()
    with endpoint.answers(NEXT_STEP):
        whole = client.get_schedule(**_named(name))
        for member in ("Arn", "CreationDate", "LastModificationDate", "ResponseMetadata"):
            del whole[member]
        client.update_schedule(**whole | {"State": state})
    if state == "DISABLED":
        return f"{name} paused"
    return f"{name} goes on: next {_next(_own(endpoint, name))}"


def rm(endpoint: Endpoint, name: str) -> str:
    """Delete a schedule; return what was done."""
    client = endpoint.scheduler_client()
    with endpoint.answers(NEXT_STEP):
        client.delete_schedule(**_named(name))
    return f"{name} deleted"


# ---------------------------------------------------------------- inside


def _function_arn(endpoint: Endpoint, function: str) -> str:
    client = endpoint.lambda_client()
    with endpoint.answers():
        arn: str = client.get_function_configuration(FunctionName=function)["FunctionArn"]
    return arn


def _parts(name: str) -> tuple[str, str]:
    """The group and the name of `NAME` or `GROUP/NAME`."""
    group, slash, rest = name.partition("/")
    return (group, rest) if slash else (DEFAULT_GROUP, name)


def _named(name: str) -> dict[str, str]:
    group, rest = _parts(name)
    return {"GroupName": group, "Name": rest}


def _own(endpoint: Endpoint, name: str) -> Mapping[str, Any]:
    """What the server's own API tells of a schedule."""
    path = "/".join(quote(part, safe="") for part in _parts(name))
    return _ask(endpoint, f"/{path}", {})


def _all(endpoint: Endpoint) -> Iterator[Mapping[str, Any]]:
    marker: str | None = None
    while True:
        page = _ask(endpoint, "", {"marker": marker} if marker else {})
        yield from page["schedules"]
        if (marker := page["marker"]) is None:
            return


def _ask(endpoint: Endpoint, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
    wanted = urlencode({**endpoint.scope(), **query})
    with endpoint.ask(f"/_samovar/schedules{path}?{wanted}") as response:
        answer: Mapping[str, Any] = json.loads(response.read())
    return answer


def _next(schedule: Mapping[str, Any]) -> str:
    if schedule["state"] == "DISABLED":
        return "paused"
    moment = schedule["next"]
    return "never" if moment is None else moment[:19].replace("T", " ") + " UTC"


def _text(value: Any) -> str:
    """A member of an answer as people read it."""
    if isinstance(value, dt.datetime):
        return f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
    return printable(value if isinstance(value, str) else json.dumps(value), one_line=True)


def _short(arn: str) -> str:
    """A target as people call it."""
    service, resource = arn.split(":", 3)[2], arn.split(":", 5)[-1]
    return resource.removeprefix("function:") if service == "lambda" else f"{service} {resource}"
