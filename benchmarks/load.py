"""Load from wrk: as many requests as the connections can carry, for some seconds."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.connection import Address, UnexpectedAnswerError
from benchmarks.figures import median
from benchmarks.service import NotAvailableError

_SCRIPT = Path(__file__).with_name("load.lua")
_WARM_UP_S = 5
"""The slowest of those measured takes 3 s to bring up what 32 connections need."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers a POST."""

    name: str
    address: Address
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Measured:
    """What repeated runs against one target gave."""

    per_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    @property
    def rate_per_s(self) -> float:
        """The median run's."""
        return median(self.per_s)


def wrk() -> str:
    """Its path. Raises `NotAvailableError`."""
    path = shutil.which("wrk")
    if path is None:
        raise NotAvailableError("wrk is not installed (Debian: apt install wrk)")
    return path


def run(target: Target, connections: int, seconds: int, into: Measured | None = None) -> None:
    """Put load on a target. Raises `UnexpectedAnswerError` if it answers with anything but 2xx."""
    command = [wrk(), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s"]
    command += [str(_SCRIPT)]
    for name, value in target.headers.items():
        command += ["-H", f"{name}: {value}"]
    command += [target.address.url + target.path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode or not line.startswith("{"):
        raise UnexpectedAnswerError(f"wrk on {target.name}: {done.stdout[-300:]}{done.stderr}")
    seen = json.loads(line)
    if not seen["requests"] or seen["bad_status"] or seen["broken"]:
        raise UnexpectedAnswerError(f"wrk on {target.name}: {line}")
    if into is not None:
        into.per_s.append(seen["requests"] / seen["duration_us"] * 1e6)
        into.p50_ms.append(seen["p50_us"] / 1e3)
        into.p99_ms.append(seen["p99_us"] / 1e3)


def take_turns(
    targets: Sequence[Target],
    connections: Sequence[int],
    seconds: int,
    rounds: int,
    failed: dict[str, str] | None = None,
) -> dict[tuple[str, int], Measured]:
    """Load on each target in turn, `rounds` times over; by name and number of connections.

    A target that fails is left out from then on, and told in `failed`; without that, raises."""
    measured = {(target.name, count): Measured() for target in targets for count in connections}
    well = list(targets)
    for target in targets:  # whatever comes up on demand is up after it
        with contextlib.suppress(UnexpectedAnswerError):
            run(target, max(connections), max(seconds, _WARM_UP_S))

    def one_run(target: Target, count: int) -> None:
        try:
            run(target, count, seconds, measured[target.name, count])
        except UnexpectedAnswerError as error:
            if failed is None:
                raise
            failed[f"{target.name}, {count} connections"] = str(error)
            well.remove(target)
            for other in connections:
                del measured[target.name, other]

    for _ in range(rounds):
        for count in connections:
            for target in list(well):
                one_run(target, count)
    return measured
