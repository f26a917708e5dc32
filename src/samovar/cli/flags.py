"""The flags and arguments that commands share."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from samovar.cli.endpoint import DEFAULT_URL, Endpoint
from samovar.cli.failure import CommandError


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


def endpoint_of(context: typer.Context) -> Endpoint:
    """The server that the flags before the verb name."""
    flags: Global = context.obj
    return Endpoint(flags.endpoint or DEFAULT_URL, flags.region)


def confirm(what: str, question: str, yes: bool) -> None:
    """Ask, where somebody can answer. Raises `CommandError` where not, `typer.Abort` on no."""
    if not yes:
        if not sys.stdin.isatty():
            raise CommandError(f"not asked whether to delete {what}", "say --yes", exit_status=2)
        typer.confirm(question, abort=True)


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
Retries = Annotated[
    int | None,
    typer.Option(help="Of asynchronous invocations that fail, 0 to 2. [default: as it is, or 2]"),
]
MaxAge = Annotated[
    int | None,
    typer.Option(
        metavar="SECONDS",
        help="After which one that was throttled is given up. [default: as it is, or 6 hours]",
    ),
]
OnSuccess = Annotated[
    str | None,
    typer.Option(
        metavar="ARN|NAME|none",
        help="Where the result of an asynchronous invocation goes: a function, a queue, ….",
    ),
]
OnFailure = Annotated[
    str | None,
    typer.Option(metavar="ARN|NAME|none", help="Where one goes that failed for good."),
]
DeadLetter = Annotated[
    str | None,
    typer.Option(metavar="ARN|none", help="A queue or topic for the events that failed for good."),
]
Concurrency = Annotated[
    int | None,
    typer.Option(min=1, help="Requests at once in one instance. [default: as it is, or 1]"),
]
Reserved = Annotated[
    str | None,
    typer.Option(
        metavar="N|none", help="Requests at once in all, kept for it. [default: as it is]"
    ),
]
Provisioned = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Requests at once that instances wait for. Publishes a version, as the alias `live`.",
    ),
]
SnapStart = Annotated[
    bool | None,
    typer.Option(help="Begin from a snapshot. Publishes a version, as the alias `live`."),
]
KeepAlive = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY|none", help="What idle instances are kept by. [default: as it is]"
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Name = Annotated[str, typer.Argument(help="The function: its name or ARN.", show_default=False)]
