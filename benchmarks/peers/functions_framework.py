"""functions-framework: Google's server for one Python function (gunicorn, in one process)."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.load import Target
from benchmarks.peers.peer import Peer
from benchmarks.service import free_address, listens, running
from benchmarks.setting import ROOT, Setting


def start(setting: Setting, stack: ExitStack) -> Peer:
    """It has no cold start: the function is imported when the server starts."""
    address = free_address()
    program = Path(sys.executable).parent / "functions-framework"
    source = ROOT / "benchmarks" / "functions" / "hello_http.py"
    command = [program, "--target", "handler", "--source", source]
    command += ["--host", address.host, "--port", str(address.port)]
    stack.enter_context(
        running(
            command,
            directory=setting.directory,
            name="functions-framework",
            ready=listens(address),
        )
    )
    return Peer(Target("functions-framework", address))
