"""What a run of the benchmarks goes by: how long, where, with which Samovar."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PYTHON = "/usr/bin/python3"
"""Not whatever PATH has first: that may be a version manager's shim, five times slower."""


@dataclass(slots=True)
class Setting:
    """One run."""

    directory: Path
    """For all that the run writes; removed after it."""
    samovar: Path
    isolation: str = "auto"
    quick: bool = False
    isolation_in_force: dict[str, Any] = field(default_factory=dict)
    """As the server tells it."""

    def pick(self, full: Any, quick: Any) -> Any:
        """One value for a whole run, another one for a quick one."""
        return quick if self.quick else full

    def runtime(self, available: list[str]) -> str:
        """The runtime of the same version as `PYTHON`, so that like is compared with like; else
        the newest one."""
        version = subprocess.run([PYTHON, "-V"], capture_output=True, text=True, check=False).stdout
        wanted = "python" + ".".join(re.findall(r"\d+", version)[:2])
        if wanted in available:
            return wanted
        pythons = [name for name in available if name.startswith("python")]
        return max(pythons, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])
