"""MiniStack: many AWS services in one Python process; functions as subprocesses, not isolated.

Its Lambda API is the same one, so it gets the same requests. Docker is left out.
"""

from __future__ import annotations

import base64
import itertools
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.connection import Connection, UnexpectedAnswerError, request
from benchmarks.load import Target
from benchmarks.peers.peer import Peer, timed
from benchmarks.samovar import API, FULL_VCPU_MIB, invocation, package
from benchmarks.service import free_address, listens, running
from benchmarks.setting import Setting

_ACTIVE_LIMIT_S = 30.0


def start(setting: Setting, stack: ExitStack) -> Peer:
    """Cold: the first invocation of a new function (a changed configuration alone leaves the old
    process in use)."""
    address = free_address()
    directory = setting.directory / "ministack"
    directory.mkdir()
    stack.enter_context(
        running(
            [Path(sys.executable).parent / "ministack"],
            directory=setting.directory,
            name="ministack-server",
            ready=listens(address),
            env={
                "GATEWAY_PORT": str(address.port),
                "BIND_HOST": address.host,
                "LAMBDA_EXECUTOR": "local",
                "STATE_DIR": str(directory),
                "TMPDIR": str(directory),
                "HOME": str(directory),
                "LOG_LEVEL": "ERROR",
            },
        )
    )
    connection = stack.enter_context(Connection(address))
    _create(setting, connection, "warm")
    numbers = itertools.count(1)

    def cold_s() -> float:
        name = f"cold-{next(numbers)}"
        _create(setting, connection, name)
        return timed(connection, invocation(name))

    return Peer(Target("ministack", address, f"{API}/warm/invocations"), cold_s)


def _create(setting: Setting, connection: Connection, name: str) -> None:
    body = {
        "FunctionName": name,
        "Runtime": setting.runtime([f"python3.{minor}" for minor in range(9, 15)]),
        "Role": "arn:aws:iam::000000000000:role/benchmark",
        "Handler": "app.handler",
        "MemorySize": FULL_VCPU_MIB,
        "Timeout": 30,
        "Code": {"ZipFile": base64.b64encode(package("hello.py", {})).decode()},
    }
    connection.exchange(request("POST", API, json.dumps(body).encode())).expect(201)
    raw = request("GET", f"{API}/{name}/configuration")
    deadline = time.monotonic() + _ACTIVE_LIMIT_S
    while connection.exchange(raw).expect(200).json()["State"] != "Active":
        if time.monotonic() > deadline:
            raise UnexpectedAnswerError(f"ministack: {name} does not become active")
        time.sleep(0.01)
