"""Cold starts of a heavy function: its init in each instance, or a fork of its snapshot.

numpy and pandas come from the package index; without them the function holds 60 MB of its own.
Each round has a new revision, whose first invocation runs the init, and a new version of it, whose
first invocation is a fork; what each start was is checked by its `X-Samovar-Start` header.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.connection import UnexpectedAnswerError, request
from benchmarks.figures import Figure, Findings, median, percentile
from benchmarks.samovar import API, FULL_VCPU_MIB, Samovar, invocation, samovar
from benchmarks.setting import PYTHON, Setting

TITLE = "Cold start with SnapStart (numpy, pandas and 300 ms of init)"
AIM = 0.03

_NAME = "heavy"
_PACKAGES = ("numpy", "pandas")
_NOT_NEEDED = re.compile(r"/tests/|\.pyi$|\.dist-info/|__pycache__")
_INSTALL_LIMIT_S = 300


def measure(setting: Setting) -> Findings:
    findings = Findings("snapstart")
    rounds = setting.pick(full=30, quick=4)
    files = _libraries(setting)
    if not files:
        findings.skipped["numpy and pandas"] = "the package index cannot be reached"
    samples_ms: dict[str, list[float]] = defaultdict(list)
    with samovar(setting, "snapstart") as server:
        server.create(_NAME, memory_mib=FULL_VCPU_MIB, source="heavy.py", files=files)
        body = json.dumps({"SnapStart": {"ApplyOn": "PublishedVersions"}}).encode()
        raw = request("PUT", f"{API}/{_NAME}/configuration", body)
        server.connection.exchange(raw).expect(200)
        for _ in range(rounds):
            server.renew([_NAME])
            samples_ms["init"].append(_cold(server, _NAME, ("blank", "fork")))
            version = _published(server)
            samples_ms["fork"].append(_cold(server, f"{_NAME}:{version}", ("template",)))
            path = f"{API}/{_NAME}?Qualifier={version}"
            server.connection.exchange(request("DELETE", path)).expect(204)
    findings.samples = dict(samples_ms)
    fork, init = samples_ms["fork"], samples_ms["init"]
    findings.figures = [
        Figure("fork of a snapshot, p50", median(fork), "ms", "with its init", median(init), AIM),
        Figure(
            "fork of a snapshot, p99",
            percentile(fork, 0.99),
            "ms",
            "with its init",
            percentile(init, 0.99),
        ),
    ]
    return findings


def _cold(server: Samovar, function: str, origins: tuple[str, ...]) -> float:
    """The first invocation of a revision or a version, in ms."""
    ask = invocation(function)
    start = time.perf_counter()
    answer = server.connection.exchange(ask)
    elapsed_ms = (time.perf_counter() - start) * 1e3
    how = answer.expect().header("X-Samovar-Start")
    if not (how.startswith("cold") and how.endswith(tuple(f"from={o}" for o in origins))):
        raise UnexpectedAnswerError(f"{function} started {how}")
    return elapsed_ms


def _published(server: Samovar) -> str:
    """Publish a version; return its number when its template and a spare fork are there."""
    raw = request("POST", f"{API}/{_NAME}/versions", b"{}")
    version: str = server.connection.exchange(raw).expect(201).json()["Version"]
    server.await_active(f"{_NAME}:{version}")
    server.settle()
    return version


def _libraries(setting: Setting) -> dict[str, bytes]:
    """numpy and pandas for the package; empty where they cannot be had."""
    target = setting.directory / "libraries"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
    command += ["--only-binary=:all:", "--python-version", _version(), *_PACKAGES]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_INSTALL_LIMIT_S)
    except (subprocess.SubprocessError, OSError):
        return {}
    return {
        str(path.relative_to(target)): path.read_bytes()
        for path in sorted(Path(target).rglob("*"))
        if path.is_file() and not _NOT_NEEDED.search(str(path))
    }


def _version() -> str:
    """Of the interpreter that functions of `Setting.runtime` run in."""
    told = subprocess.run([PYTHON, "-V"], capture_output=True, text=True, check=True).stdout
    return ".".join(re.findall(r"\d+", told)[:2])
