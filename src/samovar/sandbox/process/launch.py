"""How the driver starts a supervisor, and the first that it tells it: `boot` is what runs there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from samovar.model.isolation import Layer
from samovar.sandbox.process import sdk
from samovar.sandbox.process.link import Message
from samovar.sandbox.process.resources import server_name
from samovar.sandbox.process.runtimes import Offer, reads

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


def opening(
    data_dir: Path,
    mode: str,
    disabled: Iterable[Layer],
    offers: Mapping[str, Offer],
    *,
    memory_mib: int,
    blanks: int,
    source_root: Path,
    loop_path: Path,
) -> Message:
    """The first message; the parameters are those of `ProcessSandbox`, and what runtimes there
    are."""
    shown = sdk.find()
    return {
        "op": "open",
        "name": server_name(data_dir),
        "lock": str(data_dir.resolve() / "sandbox.lock"),
        "mode": mode,
        "disabled": sorted(disabled),
        "runtimes": {name: offer.interpreter for name, offer in offers.items()},
        "reads": reads(offers),
        "loops": {name: offer.loop for name, offer in offers.items()},
        "programs": {name: offer.program() for name, offer in offers.items()},
        "shown": {
            interpreter: dict(shown.shown_to(interpreter))
            for interpreter in {offer.interpreter for offer in offers.values()}
        },
        "blanks": blanks,
        "memory_mib": memory_mib,
        "source_root": str(source_root),
        "loop_path": str(loop_path),
    }
