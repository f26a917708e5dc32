"""The flags of `samovar up`: each is a setting of `samovar.config`, and an environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samovar.cli import flags

Host = Annotated[
    str | None,
    typer.Option(envvar="SAMOVAR_HOST", help="Address to listen on. [default: 127.0.0.1]"),
]
Port = Annotated[
    int | None,
    typer.Option(envvar="SAMOVAR_PORT", help="0 picks a free one. [default: 9000]"),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        envvar="SAMOVAR_DATA_DIR", help="Where everything that lasts is kept. [default: .samovar]"
    ),
]
Isolation = Annotated[
    flags.Isolation | None,
    typer.Option(
        envvar="SAMOVAR_ISOLATION",
        help="auto: the best this machine allows. process: all of it, or refuse to start."
        " none: trusted code only. [default: auto]",
    ),
]
Examples = Annotated[
    bool | None,
    typer.Option(
        "--examples/--no-examples",
        envvar="SAMOVAR_EXAMPLES",
        help="Deploy the example functions. [default: examples]",
    ),
]
LogFormat = Annotated[
    flags.LogFormat | None,
    typer.Option(envvar="SAMOVAR_LOG_FORMAT", help="[default: console]"),
]
DrainTimeout = Annotated[
    float | None,
    typer.Option(
        envvar="SAMOVAR_DRAIN_TIMEOUT",
        help="Seconds that running invocations may take after SIGTERM. [default: 30]",
    ),
]
AwsEndpoint = Annotated[
    str | None,
    typer.Option(
        envvar="SAMOVAR_AWS_ENDPOINT",
        help="URL of the queues, topics, buses, buckets and streams that events come from and"
        " go to. [default: there are none]",
    ),
]
TestControls = Annotated[
    bool | None,
    typer.Option(
        "--test-controls",
        envvar="SAMOVAR_TEST_CONTROLS",
        help="Let clients advance the clock and make invocations fail: for tests.",
    ),
]
EndWithStdin = Annotated[bool | None, typer.Option("--end-with-stdin", hidden=True)]
Hidden = typer.Option(hidden=True)
