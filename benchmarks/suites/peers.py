"""Samovar beside what a user might pick instead: same function, same load, same machine, same run.

None of the peers isolates a function from the machine or from other functions; Samovar does.
"""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks import load
from benchmarks.connection import UnexpectedAnswerError
from benchmarks.figures import Figure, Findings, median
from benchmarks.load import Measured
from benchmarks.peers import functions_framework, ministack, ours, serverless_offline
from benchmarks.peers.peer import Peer
from benchmarks.service import NotAvailableError
from benchmarks.setting import Setting
from benchmarks.suites.warm import CONNECTIONS, samples

TITLE = "Samovar beside peers (cold, and warm by wrk)"

_PEERS = {
    "functions-framework": functions_framework,
    "ministack": ministack,
    "serverless-offline": serverless_offline,
}


def measure(setting: Setting) -> Findings:
    findings = Findings("peers")
    load.wrk()
    with ExitStack() as stack:
        own = ours.start(setting, stack)
        peers = [own]
        for name, module in _PEERS.items():
            try:
                peers.append(module.start(setting, stack))
            except (NotAvailableError, UnexpectedAnswerError, OSError) as error:
                findings.skipped[name] = str(error)
        cold = _cold(peers, setting.pick(full=30, quick=3), findings)
        seconds, rounds = setting.pick(full=(5, 5), quick=(2, 1))
        targets = [peer.target for peer in peers]
        warm = load.take_turns(targets, CONNECTIONS, seconds, rounds, findings.skipped)
    others = [peer.name for peer in peers[1:]]
    findings.samples |= {f"{name} cold ms": times for name, times in cold.items()}
    findings.samples |= samples(warm)
    findings.figures = [
        Figure("samovar cold, p50", median(cold[own.name]), "ms", f"{name}, p50", median(times))
        for name in others
        if (times := cold.get(name))
    ]
    for count in CONNECTIONS:
        for name in others:
            if (name, count) in warm:
                findings.figures += _figures(warm[own.name, count], warm[name, count], name, count)
    return findings


def _cold(peers: list[Peer], rounds: int, findings: Findings) -> dict[str, list[float]]:
    """In turns, in ms."""
    times_ms: dict[str, list[float]] = {peer.name: [] for peer in peers if peer.cold_s}
    for _ in range(rounds):
        for peer in peers:
            if peer.cold_s is None or peer.name not in times_ms:
                continue
            try:
                times_ms[peer.name].append(peer.cold_s() * 1e3)
            except (UnexpectedAnswerError, NotAvailableError) as error:
                findings.skipped[f"{peer.name}, cold"] = str(error)
                del times_ms[peer.name]
    return times_ms


def _figures(ours_: Measured, theirs: Measured, name: str, count: int) -> list[Figure]:
    what = "samovar, 1 connection" if count == 1 else f"samovar, {count} connections"
    return [
        Figure(what, ours_.rate_per_s, "/s", name, theirs.rate_per_s, more_is_better=True),
        Figure(f"{what}, p50", median(ours_.p50_ms), "ms", f"{name}, p50", median(theirs.p50_ms)),
        Figure(f"{what}, p99", median(ours_.p99_ms), "ms", f"{name}, p99", median(theirs.p99_ms)),
    ]
