"""Warm invocations: requests per second and latency, beside servers that do nothing.

The bare servers parse HTTP and answer; Samovar besides authenticates, checks the event, finds an
instance, sends the event into it, and reads and logs what comes back. The function has a whole
vCPU, so that its quota is no limit; memory is promised to as many instances as there are
connections. All servers are up at the same time, and load goes to one of them at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from benchmarks import bare, load
from benchmarks.figures import Figure, Findings, median
from benchmarks.load import Measured, Target
from benchmarks.samovar import API, FULL_VCPU_MIB, samovar
from benchmarks.setting import Setting

TITLE = "Warm invocations (wrk, 1 and 32 connections)"

CONNECTIONS = (1, 32)
AIM_RATE = 0.4
"""Of a bare uvicorn's, at 32 connections."""
AIM_P50_MS = 0.3
"""At one connection."""


def measure(setting: Setting) -> Findings:
    findings = Findings("warm")
    load.wrk()
    with ExitStack() as stack:
        ours = samovar_target(setting, stack)
        servers = bare.start_all(setting, stack)
        seconds, rounds = setting.pick(full=(5, 7), quick=(2, 1))
        measured = load.take_turns([ours, *servers], CONNECTIONS, seconds, rounds)
    for count in CONNECTIONS:
        findings.figures += _figures(measured, [server.name for server in servers], count)
    findings.samples = samples(measured)
    return findings


def samovar_target(setting: Setting, stack: ExitStack) -> Target:
    """A server with one warm function; the first load brings its instances up."""
    room = {"memory_mib": max(CONNECTIONS) * FULL_VCPU_MIB}
    server = stack.enter_context(samovar(setting, "warm", **room))
    server.create("warm", memory_mib=FULL_VCPU_MIB)
    return Target("samovar", server.address, f"{API}/warm/invocations")


def samples(measured: Mapping[tuple[str, int], Measured]) -> dict[str, list[float]]:
    """Everything that was measured, by name."""
    found: dict[str, list[float]] = {}
    for (name, count), one in measured.items():
        found[f"{name} c{count} /s"] = one.per_s
        found[f"{name} c{count} p50 ms"] = one.p50_ms
        found[f"{name} c{count} p99 ms"] = one.p99_ms
    return found


def _figures(
    measured: Mapping[tuple[str, int], Measured], servers: list[str], count: int
) -> list[Figure]:
    ours = measured["samovar", count]
    what = "samovar, 1 connection" if count == 1 else f"samovar, {count} connections"
    figures = []
    for server in servers:
        theirs = measured[server, count]
        aim = AIM_RATE if server == "uvicorn" and count == max(CONNECTIONS) else None
        figures.append(
            Figure(
                what,
                ours.rate_per_s,
                "/s",
                f"bare {server}",
                theirs.rate_per_s,
                aim,
                more_is_better=True,
            )
        )
    plain = measured[servers[0], count]
    beside = f"bare {servers[0]}"
    p50, p99 = median(ours.p50_ms), median(ours.p99_ms)
    figures.append(Figure(f"{what}, p50", p50, "ms", f"{beside}, p50", median(plain.p50_ms)))
    figures.append(Figure(f"{what}, p99", p99, "ms", f"{beside}, p99", median(plain.p99_ms)))
    if count == 1:
        figures.append(Figure(f"{what}, p50", p50, "ms", aim=AIM_P50_MS))
    return figures
