"""Many requests at once: in one instance that takes them all, beside an instance for each.

The function waits for 50 ms, as for a database, under 32 connections that always have a request
under way: nobody can answer more than 640 a second. Both functions are on one server, and load goes
to one of them at a time. Memory is PSS of all instances of a function.
"""

from __future__ import annotations

from benchmarks import load, process_tree
from benchmarks.connection import UnexpectedAnswerError
from benchmarks.figures import Figure, Findings
from benchmarks.load import Target
from benchmarks.samovar import API, Samovar, samovar
from benchmarks.setting import Setting

TITLE = "Many requests at once (32 connections, a function that waits for 50 ms)"

CONNECTIONS = 32
MOST = 64
"""Requests in one instance: up to four fifths of them no other one is started."""
MEMORY_MIB = 512
AIM_RATE = 0.9
AIM_MEMORY = 0.2


def measure(setting: Setting) -> Findings:
    findings = Findings("concurrent")
    load.wrk()
    seconds, rounds = setting.pick(full=(5, 5), quick=(2, 1))
    room = {"memory_mib": 2 * CONNECTIONS * MEMORY_MIB}
    with samovar(setting, "concurrent", **room) as server:
        mib = {}
        for name, at_once in (("many", MOST), ("one", None)):
            before = _instances(server)
            server.create(name, memory_mib=MEMORY_MIB, source="waits.py", concurrency=at_once)
            load.run(_target(server, name), CONNECTIONS, seconds)
            server.settle()
            mib[name] = _mib(_instances(server) - before)
            _expect(len(_instances(server) - before), 1 if at_once else CONNECTIONS, name)
        targets = [_target(server, name) for name in mib]
        measured = load.take_turns(targets, [CONNECTIONS], seconds, rounds)
    many, one = (measured[name, CONNECTIONS] for name in ("many", "one"))
    reference = f"{CONNECTIONS} instances"
    findings.samples = {
        f"{name} {what}": values
        for name, of in (("many", many), ("one", one))
        for what, values in (("/s", of.per_s), ("p50 ms", of.p50_ms), ("p99 ms", of.p99_ms))
    }
    findings.figures = [
        Figure(
            "requests/s, one instance",
            many.rate_per_s,
            "/s",
            reference,
            one.rate_per_s,
            AIM_RATE,
            more_is_better=True,
        ),
        Figure("its memory", mib["many"], "MiB", reference, mib["one"], AIM_MEMORY),
    ]
    return findings


def _target(server: Samovar, name: str) -> Target:
    return Target(name, server.address, f"{API}/{name}/invocations")


def _instances(server: Samovar) -> set[tuple[int, ...]]:
    """The processes of each instance."""
    return {tuple(cell) for cell in server.instances()}


def _mib(instances: set[tuple[int, ...]]) -> float:
    return sum(process_tree.pss_bytes(pid) for cell in instances for pid in cell) / 2**20


def _expect(found: int, wanted: int, name: str) -> None:
    if found != wanted:
        raise UnexpectedAnswerError(f"{name}: {found} instances, not {wanted}")
