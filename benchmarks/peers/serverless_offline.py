"""serverless-offline: the plugin with which users of the Serverless Framework try functions.

From npm, installed once into the benchmarks' own environment: version 3 of the framework, the last
that needs no account, and the version of the plugin for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from benchmarks.connection import Address, Connection
from benchmarks.load import Target
from benchmarks.peers.peer import Peer, timed
from benchmarks.samovar import API, FULL_VCPU_MIB, invocation
from benchmarks.service import NotAvailableError, free_address, listens, running
from benchmarks.setting import ROOT, Setting

INSTALLED = Path(sys.prefix) / "peers"
_MANIFESTS = ("package.json", "package-lock.json")
_INSTALL_LIMIT_S = 600
_SERVICE = "peer"


def start(setting: Setting, stack: ExitStack) -> Peer:
    """Cold: each function's first invocation; so there is a function for each sample."""
    _install()
    cold = [f"cold{number}" for number in range(setting.pick(full=40, quick=4))]
    directory = setting.directory / "serverless-offline"
    _write_service(setting, directory, ["warm", *cold])
    address = free_address()
    _serve(directory, address, stack)
    connection = stack.enter_context(Connection(address))
    fresh = iter(cold)

    def cold_s() -> float:
        name = next(fresh, None)
        if name is None:
            raise NotAvailableError("no function is left that was never invoked")
        return timed(connection, invocation(f"{_SERVICE}-dev-{name}"))

    path = f"{API}/{_SERVICE}-dev-warm/invocations"
    return Peer(Target("serverless-offline", address, path), cold_s)


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NotAvailableError("npm is not installed")
    wanted = [(ROOT / "benchmarks" / "peers" / name).read_bytes() for name in _MANIFESTS]
    stamp = INSTALLED / ".installed"
    if stamp.exists() and stamp.read_bytes() == b"".join(wanted):
        return
    INSTALLED.mkdir(exist_ok=True)
    for name, content in zip(_MANIFESTS, wanted, strict=True):
        (INSTALLED / name).write_bytes(content)
    command = [npm, "ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(
            command,
            cwd=INSTALLED,
            capture_output=True,
            text=True,
            check=False,
            timeout=_INSTALL_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise NotAvailableError("npm ci took too long") from None
    if done.returncode:
        raise NotAvailableError(f"npm ci failed: {done.stderr.strip()[-300:]}")
    stamp.write_bytes(b"".join(wanted))


def _write_service(setting: Setting, directory: Path, functions: list[str]) -> None:
    directory.mkdir()
    shutil.copy(ROOT / "benchmarks" / "functions" / "hello.py", directory / "app.py")
    (directory / "node_modules").symlink_to(INSTALLED / "node_modules")
    runtime = setting.runtime([f"python3.{minor}" for minor in range(9, 13)])
    service = {
        "service": _SERVICE,
        "frameworkVersion": "3",
        "configValidationMode": "off",
        "provider": {"name": "aws", "runtime": runtime, "memorySize": FULL_VCPU_MIB},
        "plugins": ["serverless-offline"],
        "functions": {name: {"handler": "app.handler"} for name in functions},
    }
    (directory / "serverless.json").write_text(json.dumps(service))


def _serve(directory: Path, address: Address, stack: ExitStack) -> None:
    command = [INSTALLED / "node_modules" / ".bin" / "serverless", "offline", "start"]
    command += ["--host", address.host, "--lambdaPort", str(address.port)]
    command += ["--httpPort", str(free_address().port)]
    node = Path(shutil.which("node") or "/usr/bin/node").parent
    stack.enter_context(
        running(
            command,
            directory=directory.parent,
            name="serverless-offline-server",
            ready=listens(address),
            cwd=directory,
            env={
                "HOME": str(directory),
                # The system's interpreters before any version manager's slow shims.
                "PATH": os.pathsep.join(["/usr/bin", "/bin", str(node)]),
                "AWS_ACCESS_KEY_ID": "any",
                "AWS_SECRET_ACCESS_KEY": "any",
                "SLS_TELEMETRY_DISABLED": "1",
                "SLS_NOTIFICATIONS_MODE": "off",
            },
        )
    )
