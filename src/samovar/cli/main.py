"""The `samovar` command: its verbs and flags. What they do is imported when they are called,
so that `samovar --help` does not pay for a server or an AWS client."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from samovar.cli import simulate_flags, up_flags
from samovar.cli.endpoint import DEFAULT_URL, Endpoint
from samovar.cli.event_rules import NONE, EventRules
from samovar.cli.events_app import events_app
from samovar.cli.failure import CommandError
from samovar.cli.flags import (
    CodePath,
    Concurrency,
    DeadLetter,
    FunctionName,
    Global,
    Handler,
    Isolation,
    KeepAlive,
    Layers,
    MaxAge,
    Memory,
    Name,
    NoLayers,
    OnFailure,
    OnSuccess,
    Provisioned,
    Reserved,
    Retries,
    Runtime,
    SnapStart,
    Timeout,
    Variables,
    Yes,
    confirm,
    endpoint_of,
)
from samovar.cli.layer_app import layer_app
from samovar.cli.printable import printable
from samovar.cli.schedule_app import schedule_app

app = typer.Typer(
    help="The serverless server: the AWS Lambda API on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: half the time, and it fits 80 columns
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(layer_app, name="layer")
app.add_typer(schedule_app, name="schedule")
app.add_typer(events_app, name="events")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"samovar {version('samovar')}")
        raise typer.Exit


@app.callback()
def _global(
    context: typer.Context,
    endpoint: Annotated[
        str | None,
        typer.Option(
            envvar="SAMOVAR_ENDPOINT", help=f"The server to speak to. [default: {DEFAULT_URL}]"
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            envvar="SAMOVAR_REGION", help="AWS region to name. [default: your AWS configuration's]"
        ),
    ] = None,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    context.obj = Global(endpoint, region)


@app.command()
def up(
    host: up_flags.Host = None,
    port: up_flags.Port = None,
    data_dir: up_flags.DataDir = None,
    isolation: up_flags.Isolation = None,
    examples: up_flags.Examples = None,
    log_format: up_flags.LogFormat = None,
    drain_timeout: up_flags.DrainTimeout = None,
    aws_endpoint: up_flags.AwsEndpoint = None,
    test_controls: up_flags.TestControls = None,
    end_with_stdin: up_flags.EndWithStdin = None,
    terminal: Annotated[str | None, up_flags.Hidden] = None,
    lock_fd: Annotated[int | None, up_flags.Hidden] = None,
    listener_fd: Annotated[int | None, up_flags.Hidden] = None,
) -> None:
    """Run the platform in the foreground."""
    from samovar.cli import up as verb

    raise typer.Exit(
        verb.up(
            host=host,
            port=port,
            data_dir=data_dir,
            isolation=isolation,
            examples=examples,
            log_format=log_format,
            drain_timeout_s=drain_timeout,
            aws_endpoint=aws_endpoint,
            test_controls=test_controls,
            end_with_stdin=end_with_stdin,
            terminal=terminal,
            lock_fd=lock_fd,
            listener_fd=listener_fd,
        )
    )


@app.command()
def deploy(
    context: typer.Context,
    path: CodePath,
    name: FunctionName = None,
    handler: Handler = None,
    runtime: Runtime = None,
    memory: Memory = None,
    timeout: Timeout = None,
    env: Variables = None,
    layer: Layers = None,
    no_layers: NoLayers = False,
    retries: Retries = None,
    max_age: MaxAge = None,
    on_success: OnSuccess = None,
    on_failure: OnFailure = None,
    dead_letter: DeadLetter = None,
    concurrency: Concurrency = None,
    reserved: Reserved = None,
    provisioned: Provisioned = None,
    snapstart: SnapStart = None,
    keep_alive: KeepAlive = None,
) -> None:
    """Create a function from a path, or update it to that."""
    from samovar.cli import deploy as verb
    from samovar.cli.instance_rules import InstanceRules, parse_reserved

    environment = verb.parse_environment(env) if env else None
    layers = [] if no_layers else layer
    dead_letter = "" if dead_letter == NONE else dead_letter
    settings = verb.Settings(
        handler,
        runtime,
        memory,
        timeout,
        environment,
        layers,
        dead_letter,
        concurrency,
        snapstart,
    )
    rules = EventRules(retries, max_age, on_success, on_failure)
    instances = InstanceRules(
        parse_reserved(reserved), provisioned, keep_alive, snap_start=bool(snapstart)
    )
    typer.echo(verb.deploy(endpoint_of(context), path, name, settings, rules, instances))


@app.command()
def dev(
    context: typer.Context,
    path: CodePath,
    name: FunctionName = None,
    handler: Handler = None,
    runtime: Runtime = None,
    memory: Memory = None,
    timeout: Timeout = None,
    env: Variables = None,
    layer: Layers = None,
    isolation: Annotated[
        Isolation | None,
        typer.Option(
            help="Start a server of its own with it. none: breakpoint() works in this terminal."
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(envvar="SAMOVAR_DATA_DIR", help="Of a server of its own, as for `up`."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            envvar="SAMOVAR_PORT", help="Of a server of its own. [default: 9000, or a free one]"
        ),
    ] = None,
) -> None:
    """Deploy a path whenever it is saved, print its log. Starts a server if none runs."""
    from samovar.cli import deploy as settings_of
    from samovar.cli import dev as verb
    from samovar.cli.own_server import Wanted

    flags: Global = context.obj
    if flags.endpoint and isolation:
        raise CommandError(
            "--isolation is for a server of its own", "leave --endpoint out", exit_status=2
        )
    environment = settings_of.parse_environment(env) if env else None
    verb.dev(
        Endpoint(flags.endpoint, flags.region) if flags.endpoint else None,
        flags.region,
        path,
        name,
        settings_of.Settings(handler, runtime, memory, timeout, environment, layer),
        Wanted(isolation, data_dir, port),
    )


@app.command()
def invoke(
    context: typer.Context,
    name: Name,
    payload: Annotated[str, typer.Option("--payload", "-p", help="JSON, @file, or -")] = "{}",
    asynchronous: Annotated[
        bool, typer.Option("--async", help="Queue it; do not wait for an answer.")
    ] = False,
    log: Annotated[bool, typer.Option("--log", help="Print its log to stderr, too.")] = False,
    qualifier: Annotated[str | None, typer.Option(help="A version or an alias.")] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print its answer as it comes, as it is.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say whether it was warm, and where time went.")
    ] = False,
) -> None:
    """Call a function with an event; print its answer."""
    from samovar.cli import invoke as verb

    if stream:
        if asynchronous:
            raise CommandError("--stream and --async exclude each other", exit_status=2)
        verb.stream(
            endpoint_of(context),
            name,
            verb.read_payload(payload),
            qualifier=qualifier,
            show_log=log,
            show_start=verbose,
        )
        return
    verb.invoke(
        endpoint_of(context),
        name,
        verb.read_payload(payload),
        qualifier=qualifier,
        asynchronous=asynchronous,
        show_log=log,
        show_start=verbose,
    )


@app.command()
def logs(
    context: typer.Context,
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it prints.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many at most.")] = 100,
) -> None:
    """Print what a function has printed."""
    from samovar.cli import logs as verb

    verb.logs(endpoint_of(context), name, lines=lines, follow=follow)


@app.command()
def ls(context: typer.Context) -> None:
    """List the functions."""
    from samovar.cli import ls as verb

    typer.echo(verb.ls(endpoint_of(context)))


@app.command()
def rm(
    context: typer.Context,
    name: Name,
    yes: Yes = False,
) -> None:
    """Delete a function, its versions and aliases."""
    from samovar.cli import rm as verb

    confirm(name, f"Delete {name} with all its versions?", yes)
    verb.rm(endpoint_of(context), name)
    typer.echo(f"{name} deleted")


@app.command()
def top(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Show one look and end.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One look as JSON, for programs.")
    ] = False,
) -> None:
    """Show what is promised and what is really used, each second."""
    from samovar.cli import top as verb

    endpoint = endpoint_of(context)
    if once or as_json:
        typer.echo(verb.once(endpoint, as_json=as_json))
    else:
        verb.watch(endpoint)


@app.command()
def simulate(
    functions: simulate_flags.Functions = 1000,
    hours: simulate_flags.Hours = 24,
    workers: simulate_flags.Workers = 10,
    memory: simulate_flags.Memory = 16,
    policies: simulate_flags.Policies = simulate_flags.ALL,
    oversubscription: simulate_flags.Ratios = "1",
    shape: simulate_flags.Shape = "azure",
    trace: simulate_flags.TraceFiles = None,
    max_rate: simulate_flags.MaxRate = 6,
    sweep: simulate_flags.Sweep = False,
    seed: simulate_flags.Seed = 1,
    out: simulate_flags.Out = Path("simulation"),
) -> None:
    """Replay a workload under keep-alive policies; write a report. Needs no server."""
    from samovar.cli import simulate as verb

    wanted = verb.Wanted(
        functions,
        hours,
        workers,
        memory,
        policies,
        oversubscription,
        shape,
        trace or (),
        max_rate,
        sweep,
        seed,
    )
    verb.simulate(wanted, out)


def main() -> NoReturn:
    """The entry point. A person never sees a traceback; the exit status says what it was."""
    try:
        app()
        status = 0
    except CommandError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        status = error.exit_status
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # The reader of our output has gone; say nothing when the interpreter flushes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except Exception as error:  # the edge: whatever it is becomes one line
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        print(
            f"error: {printable(said)}; this is a defect of samovar, please report it",
            file=sys.stderr,
        )
        status = 70
    sys.exit(status)
