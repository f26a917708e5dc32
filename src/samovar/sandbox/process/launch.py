"""How the driver starts a supervisor: `boot` is what runs there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import sys
sys.path.append({source!r})
from samovar.sandbox.process import boot
boot.main()
"""
"""What its interpreter is told to run: our own code, and nothing else but the standard library."""


def launch(driver_fd: int, source_root: Path) -> subprocess.Popen[bytes]:
    """Start a supervisor that serves the driver at the other end of `driver_fd`."""
    program = _PROGRAM.format(source=str(source_root))
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program, str(driver_fd)],
        pass_fds=[driver_fd],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the server, which drains first
    )
