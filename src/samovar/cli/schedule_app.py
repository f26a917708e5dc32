"""`samovar schedule …`: what its commands take; what they do is in `schedule.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from samovar.cli.flags import Yes, confirm, endpoint_of

schedule_app = typer.Typer(help="Functions at set times.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Of the schedule, or GROUP/NAME.", show_default=False)]


@schedule_app.command("add")
def add_schedule(
    context: typer.Context,
    name: Name,
    function: Annotated[
        str, typer.Argument(help="What to invoke: NAME[:QUALIFIER] or an ARN.", show_default=False)
    ],
    rate: Annotated[str | None, typer.Option(help='Again and again: "5 minutes", "1 day".')] = None,
    cron: Annotated[
        str | None, typer.Option(help='AWS\'s six fields: "0 9 ? * MON-FRI *".')
    ] = None,
    at: Annotated[str | None, typer.Option(help="Once: 2027-01-31T09:00:00")] = None,
    tz: Annotated[
        str, typer.Option("--tz", help="Of --cron and --at, such as Europe/Berlin.")
    ] = "UTC",
    payload: Annotated[
        str | None, typer.Option("--payload", "-p", help="JSON, @file, or - [default: AWS's own]")
    ] = None,
    flexible: Annotated[
        int | None, typer.Option(metavar="MIN", help="Fire within so many minutes of each time.")
    ] = None,
) -> None:
    """Invoke a function at set times."""
    from samovar.cli import schedule as noun

    expression = noun.expression_of(rate, cron, at)
    typer.echo(noun.add(endpoint_of(context), name, function, expression, tz, payload, flexible))


@schedule_app.command("ls")
def list_schedules(context: typer.Context) -> None:
    """List the schedules: when they fire next, what they have missed."""
    from samovar.cli import schedule as noun

    typer.echo(noun.ls(endpoint_of(context)))


@schedule_app.command("show")
def show_schedule(context: typer.Context, name: Name) -> None:
    """Print all of a schedule."""
    from samovar.cli import schedule as noun

    typer.echo(noun.show(endpoint_of(context), name))


@schedule_app.command("pause")
def pause_schedule(context: typer.Context, name: Name) -> None:
    """Let it fire no more, for now."""
    from samovar.cli import schedule as noun

    typer.echo(noun.set_state(endpoint_of(context), name, "DISABLED"))


@schedule_app.command("resume")
def resume_schedule(context: typer.Context, name: Name) -> None:
    """Let it fire again, from its next time on."""
    from samovar.cli import schedule as noun

    typer.echo(noun.set_state(endpoint_of(context), name, "ENABLED"))


@schedule_app.command("rm")
def remove_schedule(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Delete a schedule. What it has fired goes on."""
    from samovar.cli import schedule as noun

    confirm(name, f"Delete the schedule {name}?", yes)
    typer.echo(noun.rm(endpoint_of(context), name))
