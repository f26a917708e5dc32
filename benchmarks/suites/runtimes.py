"""Warm invocations in each kind of runtime, and what it costs to start Node.js.

Three functions of one line each: Python in our own loop, Python in AWS's `awslambdaric` (as a
custom runtime, through the Runtime API), and Node.js. The machine, the server and the load are the
same, so what differs is the runtime. A cold start of Node.js is measured from sending an Invoke to
its answer, beside `node -e 0`, which loads nothing and answers nothing.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import load, reference
from benchmarks.figures import Figure, Findings, median, percentile
from benchmarks.load import Measured, Target
from benchmarks.samovar import API, FULL_VCPU_MIB, Samovar, invocation, samovar
from benchmarks.service import NotAvailableError
from benchmarks.setting import Setting
from benchmarks.suites.warm import CONNECTIONS, samples

TITLE = "Runtimes: our Python loop, awslambdaric, Node.js"

AIM_LOOP = 2.0
"""Our loop's rate ÷ awslambdaric's, at 32 connections."""
AIM_NODE = 1.5
"""A cold start of Node.js ÷ `node -e 0`."""

_MOST_INSTANCES = 3 * max(CONNECTIONS)
"""Of each function: those that are still at work after an answer are not free for the next."""

_LOOP, _RIC, _NODE = "our Python loop", "awslambdaric", "Node.js"
_RIC_DISTRIBUTIONS = ("awslambdaric", "snapshot-restore-py", "simplejson")


def measure(setting: Setting) -> Findings:
    findings = Findings("runtimes")
    with ExitStack() as stack:
        room = {"memory_mib": 3 * _MOST_INSTANCES * FULL_VCPU_MIB}
        server = stack.enter_context(samovar(setting, "runtimes", **room))
        targets = _targets(server, findings)
        if any(target.name == _NODE for target in targets):
            _measure_node_starts(server, setting, findings)
        load.wrk()
        seconds, rounds = setting.pick(full=(5, 7), quick=(2, 1))
        measured = load.take_turns(targets, CONNECTIONS, seconds, rounds)
    names = [target.name for target in targets]
    for count in CONNECTIONS:
        findings.figures += _figures(measured, names, count)
    findings.samples |= samples(measured)
    return findings


# ---------------------------------------------------------------- functions


def _targets(server: Samovar, findings: Findings) -> list[Target]:
    server.create("loop", memory_mib=FULL_VCPU_MIB)
    targets = [Target(_LOOP, server.address, f"{API}/loop/invocations")]
    try:
        server.create(
            "ric", memory_mib=FULL_VCPU_MIB, runtime="provided.al2023", files=_awslambdaric()
        )
        targets.append(Target(_RIC, server.address, f"{API}/ric/invocations"))
    except NotAvailableError as error:
        findings.skipped[_RIC] = str(error)
    try:
        runtime = node_runtime()
        server.create("node", memory_mib=FULL_VCPU_MIB, source="hello.cjs", runtime=runtime)
        targets.append(Target(_NODE, server.address, f"{API}/node/invocations"))
    except NotAvailableError as error:
        findings.skipped[_NODE] = str(error)
    return targets


def _awslambdaric() -> dict[str, bytes]:
    """AWS's client as this environment has it, and what starts it. Its native part fits one
    version of Python."""
    python = f"/usr/bin/python3.{sys.version_info.minor}"
    if not Path(python).exists():
        raise NotAvailableError(f"there is no {python}")
    files = {"bootstrap": f"#!/bin/sh\nexec {python} -m awslambdaric $_HANDLER\n".encode()}
    for name in _RIC_DISTRIBUTIONS:
        for file in importlib.metadata.files(name) or []:
            if file.suffix in (".py", ".so") and ".." not in file.parts:
                files[str(file)] = Path(str(file.locate())).read_bytes()
    return files


def _node() -> str:
    path = shutil.which("node", path="/usr/local/bin:/usr/bin")
    if path is None:
        raise NotAvailableError("there is no node below /usr")
    return path


def node_runtime() -> str:
    """The runtime of the machine's Node.js. Raises `NotAvailableError`."""
    told = subprocess.run([_node(), "--version"], capture_output=True, text=True, check=True)
    return f"nodejs{told.stdout.removeprefix('v').partition('.')[0]}.x"


# ---------------------------------------------------------------- Node's cold start


def _measure_node_starts(server: Samovar, setting: Setting, findings: Findings) -> None:
    rounds = setting.pick(full=60, quick=8)
    plain = (_node(), "-e", "0")
    raw = invocation("node")
    ours_ms, plain_ms = [], []
    for _ in range(rounds):
        server.renew(["node"])
        begun = time.perf_counter()
        answer = server.connection.exchange(raw)
        ours_ms.append((time.perf_counter() - begun) * 1e3)
        answer.expect().expect_header("X-Samovar-Start", "cold")
        plain_ms.append(reference.run_once(plain) * 1e3)
    findings.samples |= {"Node.js cold ms": ours_ms, "node -e 0 ms": plain_ms}
    what, beside = "cold start of Node.js", "node -e 0"
    p50, p50_plain = median(ours_ms), median(plain_ms)
    p99, p99_plain = percentile(ours_ms, 0.99), percentile(plain_ms, 0.99)
    findings.figures += [
        Figure(f"{what}, p50", p50, "ms", beside, p50_plain, AIM_NODE),
        Figure(f"{what}, p99", p99, "ms", beside, p99_plain),
    ]


# ---------------------------------------------------------------- figures


def _figures(
    measured: dict[tuple[str, int], Measured], names: list[str], count: int
) -> list[Figure]:
    load_of = "1 connection" if count == 1 else f"{count} connections"
    ours = measured[_LOOP, count]
    figures = [
        Figure(
            f"{_LOOP}, {load_of}",
            ours.rate_per_s,
            "/s",
            name,
            measured[name, count].rate_per_s,
            AIM_LOOP if name == _RIC and count == max(CONNECTIONS) else None,
            more_is_better=True,
        )
        for name in names
        if name != _LOOP
    ]
    p50 = median(ours.p50_ms)
    figures += [
        Figure(
            f"{name}, {load_of}, p50",
            median(measured[name, count].p50_ms),
            "ms",
            _LOOP + ", p50",
            p50,
        )
        for name in names
        if name != _LOOP
    ]
    return figures
