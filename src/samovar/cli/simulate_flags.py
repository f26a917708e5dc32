"""The flags of `samovar simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from samovar.model.tuning import KEEP_ALIVE_POLICIES

ALL = ",".join(KEEP_ALIVE_POLICIES)

Functions = Annotated[int, typer.Option(min=1, max=1_000_000, help="How many there are.")]
Hours = Annotated[float, typer.Option(min=0.01, max=8760, help="Of virtual time.")]
Workers = Annotated[int, typer.Option(min=1, max=10_000, help="How many machines there are.")]
Memory = Annotated[float, typer.Option(min=0.125, max=65536, help="GiB of each, really.")]
Policies = Annotated[str, typer.Option("--policy", help="Keep-alive policies.")]
Ratios = Annotated[
    str, typer.Option("--oversubscription", help="Memory promised ÷ there, such as 1,2,4.")
]
Shape = Annotated[str, typer.Option(help="Of the workload: azure, bursty, huawei or periodic.")]
TraceFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="Replay this instead: Azure 2019, Azure 2021 or Huawei 2023; repeat it.",
    ),
]
MaxRate = Annotated[
    float,
    typer.Option(min=0, help="Calls per minute and function that are simulated. 0: all."),
]
Sweep = Annotated[bool, typer.Option("--sweep", help="Each policy at many settings of its knob.")]
Seed = Annotated[int, typer.Option(help="The same seed makes the same numbers.")]
Out = Annotated[Path, typer.Option(help="The folder of the report.")]
