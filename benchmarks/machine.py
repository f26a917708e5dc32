"""Facts of the machine that a result means nothing without."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.setting import PYTHON, ROOT

BUSY_LOAD = 1.0


def facts() -> dict[str, Any]:
    """Processors, kernel, interpreters, load, and which commit is measured."""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "system": _system(),
        "cgroups": _cgroups(),
        "python": platform.python_version(),
        "reference_python": _version([PYTHON, "-V"]),
        "load_1m_at_start": load(),
        "commit": _version(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
    }


def load() -> float:
    """Of the last minute: how many processes wanted to run."""
    return round(os.getloadavg()[0], 2)


def summary(machine: dict[str, Any]) -> str:
    """One line for people."""
    return (
        f"{machine['processors']} × {machine['processor']}, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Linux {machine['kernel']}, cgroups {machine['cgroups']}, "
        f"{machine['reference_python']}, commit {machine['commit']}, "
        f"load {machine['load_1m_at_start']}"
    )


def _processor() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _system() -> str:
    path = Path("/etc/os-release")
    found = re.search(r'PRETTY_NAME="(.*)"', path.read_text()) if path.exists() else None
    return found[1] if found else platform.system()


def _cgroups() -> str:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "v2"
    return "v1 + v2" if Path("/sys/fs/cgroup/unified").exists() else "v1"


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return (done.stdout or done.stderr).strip()
