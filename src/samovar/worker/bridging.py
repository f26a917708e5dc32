"""Which functions run as a program beside a bridge, though their runtime has a loop of its own.

Extensions and wrapper scripts are about programs that speak the Runtime API; our Python loop is
faster because it is none. So it is left where one of them is there, and only there.
"""

from __future__ import annotations

from pathlib import Path

from samovar.guest import extension_processes
from samovar.guest.program import WRAPPER
from samovar.model.function import FunctionVersion


def is_bridged(version: FunctionVersion, layers_dir: Path | None) -> bool:
    """Whether a version, whose layers are unpacked there, is to run so."""
    if version.environment.get(WRAPPER):
        return True
    return bool(layers_dir and extension_processes.find(str(layers_dir)))
