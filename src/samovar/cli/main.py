"""The `samovar` command: its verbs and flags. What they do is imported when they are called,
so that `samovar --help` does not pay for a server or an AWS client."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from samovar.cli.endpoint import DEFAULT_URL, Endpoint
from samovar.cli.failure import CommandError

app = typer.Typer(
    help="The serverless server: the AWS Lambda API on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: half the time, and it fits 80 columns
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Isolation(StrEnum):
    """What `--isolation` may say."""

    AUTO = "auto"
    PROCESS = "process"
    NONE = "none"


class LogFormat(StrEnum):
    """What `--log-format` may say."""

    CONSOLE = "console"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Global:
    """The flags before the verb."""

    endpoint: str | None
    """None: not said."""
    region: str | None


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


def _endpoint(context: typer.Context) -> Endpoint:
    flags: Global = context.obj
    return Endpoint(flags.endpoint or DEFAULT_URL, flags.region)


CodePath = Annotated[Path, typer.Argument(help="A .py file, a folder or a zip.")]
FunctionName = Annotated[str | None, typer.Option(help="[default: the file's or folder's]")]
Handler = Annotated[
    str | None,
    typer.Option(help="module.function [default: handler or lambda_handler in app, main, …]"),
]
Runtime = Annotated[
    str | None, typer.Option(help="Such as python3.11. [default: the server's newest]")
]
Memory = Annotated[int | None, typer.Option(help="MiB. [default: 128]")]
Timeout = Annotated[int | None, typer.Option(help="Seconds. [default: 3]")]
Variables = Annotated[
    list[str] | None,
    typer.Option(metavar="K=V", help="All of its variables; repeat it. [default: as they are]"),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ARN|NAME[:N]",
        help="All of its layers, in order; repeat it. [default: as they are]",
    ),
]
NoLayers = Annotated[bool, typer.Option("--no-layers", help="Take its layers from it.")]
Name = Annotated[str, typer.Argument(help="The function: its name or ARN.", show_default=False)]


@app.command()
def up(
    host: Annotated[
        str | None,
        typer.Option(envvar="SAMOVAR_HOST", help="Address to listen on. [default: 127.0.0.1]"),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(envvar="SAMOVAR_PORT", help="0 picks a free one. [default: 9000]"),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="SAMOVAR_DATA_DIR", help="Where functions are kept. [default: .samovar]"
        ),
    ] = None,
    isolation: Annotated[
        Isolation | None,
        typer.Option(
            envvar="SAMOVAR_ISOLATION",
            help="auto: the best this machine allows. process: all of it, or refuse to start."
            " none: trusted code only. [default: auto]",
        ),
    ] = None,
    examples: Annotated[
        bool | None,
        typer.Option(
            "--examples/--no-examples",
            envvar="SAMOVAR_EXAMPLES",
            help="Deploy the example functions. [default: examples]",
        ),
    ] = None,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(envvar="SAMOVAR_LOG_FORMAT", help="[default: console]"),
    ] = None,
    drain_timeout: Annotated[
        float | None,
        typer.Option(
            envvar="SAMOVAR_DRAIN_TIMEOUT",
            help="Seconds that running invocations may take after SIGTERM. [default: 30]",
        ),
    ] = None,
    end_with_stdin: Annotated[bool | None, typer.Option("--end-with-stdin", hidden=True)] = None,
    terminal: Annotated[str | None, typer.Option(hidden=True)] = None,
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
            end_with_stdin=end_with_stdin,
            terminal=terminal,
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
) -> None:
    """Create a function from a path, or update it to that."""
    from samovar.cli import deploy as verb

    environment = verb.parse_environment(env) if env else None
    layers = [] if no_layers else layer
    settings = verb.Settings(handler, runtime, memory, timeout, environment, layers)
    typer.echo(verb.deploy(_endpoint(context), path, name, settings))


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
            _endpoint(context),
            name,
            verb.read_payload(payload),
            qualifier=qualifier,
            show_log=log,
            show_start=verbose,
        )
        return
    verb.invoke(
        _endpoint(context),
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

    verb.logs(_endpoint(context), name, lines=lines, follow=follow)


@app.command()
def ls(context: typer.Context) -> None:
    """List the functions."""
    from samovar.cli import ls as verb

    typer.echo(verb.ls(_endpoint(context)))


@app.command()
def rm(
    context: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a function, its versions and aliases."""
    from samovar.cli import rm as verb

    _confirm(name, f"Delete {name} with all its versions?", yes)
    verb.rm(_endpoint(context), name)
    typer.echo(f"{name} deleted")


layer_app = typer.Typer(help="Files that functions share, at /opt.", no_args_is_help=True)
app.add_typer(layer_app, name="layer")


@layer_app.command("publish")
def publish_layer(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Of the layer, new or not.", show_default=False)],
    path: Annotated[Path, typer.Argument(help="A folder or a zip: what is to be at /opt.")],
    runtime: Annotated[
        list[str] | None, typer.Option(help="What it is made for, as a note; repeat it.")
    ] = None,
    description: Annotated[str, typer.Option(help="For those who list it.")] = "",
) -> None:
    """Publish a new version of a layer."""
    from samovar.cli import layer as noun

    typer.echo(noun.publish(_endpoint(context), name, path, runtime or [], description))


@layer_app.command("ls")
def list_layers(context: typer.Context) -> None:
    """List the layers with their newest versions."""
    from samovar.cli import layer as noun

    typer.echo(noun.ls(_endpoint(context)))


@layer_app.command("rm")
def remove_layer(
    context: typer.Context,
    layer: Annotated[str, typer.Argument(help="NAME[:VERSION]; without one: all of them.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a layer, or one version of it. Functions that use it go on."""
    from samovar.cli import layer as noun

    _confirm(layer, f"Delete the layer {layer}?", yes)
    typer.echo(noun.rm(_endpoint(context), layer))


def _confirm(what: str, question: str, yes: bool) -> None:
    """Ask, where somebody can answer. Raises `CommandError` where not, `typer.Abort` on no."""
    if not yes:
        if not sys.stdin.isatty():
            raise CommandError(f"not asked whether to delete {what}", "say --yes", exit_status=2)
        typer.confirm(question, abort=True)


def main() -> NoReturn:
    """The entry point. A person never sees a traceback; the exit status says what it was."""
    try:
        app()
        status = 0
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        status = error.exit_status
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        # The reader of our output has gone; say nothing when the interpreter flushes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except Exception as error:  # the edge: whatever it is becomes one line
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"error: {said}; this is a defect of samovar, please report it", file=sys.stderr)
        status = 70
    sys.exit(status)
