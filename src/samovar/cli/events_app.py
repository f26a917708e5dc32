"""`samovar events …`: what its commands take; what they do is in `events.py`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from samovar.cli.flags import Yes, confirm, endpoint_of

events_app = typer.Typer(
    help="Asynchronous invocations: what waits, what is dead.",
    no_args_is_help=True,
)


class State(StrEnum):
    """What `--state` may say."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    DEAD = "dead"


Ids = Annotated[list[str] | None, typer.Argument(help="Of events.", show_default=False)]
Function = Annotated[str | None, typer.Option(help="All of this function's (or schedule's).")]
Everything = Annotated[bool, typer.Option("--all", help="All of them.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@events_app.command("ls")
def list_events(
    context: typer.Context,
    function: Annotated[
        str | None, typer.Argument(help="Its name or ARN.", show_default=False)
    ] = None,
    state: Annotated[State | None, typer.Option(help="Only those.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Events at most.")] = 50,
    after: Annotated[str | None, typer.Option(help="Go on where the last listing ended.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count each function's events, then list them."""
    from samovar.cli import events as noun

    endpoint = endpoint_of(context)
    typer.echo(noun.ls(endpoint, function, state, limit=limit, after=after, as_json=as_json))


@events_app.command("show")
def show_event(
    context: typer.Context,
    event_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    payload: Annotated[
        bool, typer.Option("--payload", help="Its payload alone, as it is unless on a terminal.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show an event with its payload."""
    from samovar.cli import events as noun

    if payload:
        noun.write_payload(endpoint_of(context), event_id)
    else:
        typer.echo(noun.show(endpoint_of(context), event_id, as_json=as_json))


@events_app.command("replay")
def replay_events(
    context: typer.Context,
    ids: Ids = None,
    function: Function = None,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """Have dead events tried again, as if they were new."""
    from samovar.cli import events as noun

    chosen = noun.choose(ids, function, everything)
    typer.echo(noun.replay(endpoint_of(context), chosen, as_json=as_json))


@events_app.command("purge")
def purge_events(
    context: typer.Context,
    ids: Ids = None,
    function: Function = None,
    everything: Everything = False,
    state: Annotated[
        State | None, typer.Option(help="Only those. [default: dead, or any where IDs are given]")
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget events for good."""
    from samovar.cli import events as noun

    chosen = noun.choose(ids, function, everything, state)
    endpoint = endpoint_of(context)
    if not yes:
        what = noun.count(endpoint, chosen)
        confirm(what, f"Forget {what} for good?", yes)
    typer.echo(noun.purge(endpoint, chosen, as_json=as_json))
