"""Samovar, started as a user starts it, and functions on it."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import process_tree
from benchmarks.connection import Address, Connection, UnexpectedAnswerError, request
from benchmarks.service import Service, running
from benchmarks.setting import ROOT, Setting

API = "/2015-03-31/functions"
FULL_VCPU_MIB = 1769
"""At so much memory a function has one vCPU."""

_PROVIDER = "arn:aws:lambda:us-east-1:000000000000:capacity-provider:default"
_READY = "samovar ready "
_UPDATE_LIMIT_S = 60.0
_revisions = itertools.count(1)

Cell = list[int]
"""The processes of one instance, or of one blank."""


@dataclass(slots=True)
class Samovar:
    """A running server."""

    address: Address
    pid: int
    runtime: str
    blanks: int
    connection: Connection
    functions: list[str] = field(default_factory=list)

    def create(
        self,
        name: str,
        *,
        memory_mib: int = 128,
        source: str = "hello.py",
        runtime: str = "",
        files: Mapping[str, bytes] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Create a function of a file in benchmarks/functions, and wait until it is active.

        `runtime`: other than `self.runtime`; `files`: what its package has besides; `concurrency`:
        so many requests at once in one instance."""
        body: dict[str, object] = {
            "FunctionName": name,
            "Runtime": runtime or self.runtime,
            "Role": "arn:aws:iam::000000000000:role/benchmark",
            "Handler": "app.handler",
            "MemorySize": memory_mib,
            "Timeout": 30,
            "Code": {"ZipFile": base64.b64encode(package(source, files or {})).decode()},
        }
        if concurrency is not None:
            provider = {
                "CapacityProviderArn": _PROVIDER,
                "PerExecutionEnvironmentMaxConcurrency": concurrency,
            }
            config = {"LambdaManagedInstancesCapacityProviderConfig": provider}
            body["CapacityProviderConfig"] = config
        self.connection.exchange(request("POST", API, json.dumps(body).encode())).expect(201)
        self.functions.append(name)
        self._wait(name, "State", "Active")

    def renew(self, names: Sequence[str]) -> None:
        """Give functions a new revision each, so that their next invocations start cold.

        Returns when old instances are gone and, where there is a pool of blanks, it is full."""
        for name in names:
            body = json.dumps({"Description": f"revision {next(_revisions)}"}).encode()
            raw = request("PUT", f"{API}/{name}/configuration", body)
            self.connection.exchange(raw).expect(200)
        for name in names:
            self._wait(name, "LastUpdateStatus", "Successful")
        self.settle()

    def settle(self) -> None:
        """Wait until no process of the server has anything to do, its pool of blanks refilled."""
        quiet = process_tree.wait_until_quiet(self.pid, lambda: len(self.spare()) >= self.blanks)
        if not quiet:
            raise UnexpectedAnswerError("the server does not come to rest")

    def await_active(self, name: str) -> None:
        """Wait until a function, or a version of it, is active."""
        self._wait(name, "State", "Active")

    def supervisor(self) -> int:
        """The process that starts the instances."""
        below = process_tree.descendants(self.pid)
        return next(pid for pid in below if "samovar.sandbox" in process_tree.command_line(pid))

    def zygotes(self) -> list[int]:
        """The processes that all others are forks of, one for each kind of runtime that is in use.

        Instances have a namespace of process ids each; without, there is one zygote, the oldest."""
        below = process_tree.descendants(self.supervisor())
        host = process_tree.pid_namespace(self.pid)
        outside = [pid for pid in below if process_tree.pid_namespace(pid) == host]
        return outside if len(outside) < len(below) else outside[:1]

    def spare(self) -> list[Cell]:
        """Blanks that wait for code."""
        instances = self.instances()
        return [cell for cell in self._cells() if cell not in instances]

    def instances(self) -> list[Cell]:
        """Instances: their stdout is a pipe that the server reads."""
        pipes = {name for name in process_tree.open_files(self.pid) if name.startswith("pipe:")}
        stdout_of = process_tree.stdout_of
        return [cell for cell in self._cells() if pipes & {stdout_of(pid) for pid in cell}]

    def _cells(self) -> list[Cell]:
        """All processes below the supervisor but the zygotes, by the pid namespace they are in;
        each by itself where they have none of their own."""
        cells: dict[str, Cell] = {}
        host = process_tree.pid_namespace(self.pid)
        zygotes = self.zygotes()
        for pid in process_tree.descendants(self.supervisor()):
            namespace = process_tree.pid_namespace(pid)
            if pid not in zygotes:
                cells.setdefault(str(pid) if namespace == host else namespace, []).append(pid)
        return list(cells.values())

    def _wait(self, name: str, key: str, value: str) -> None:
        raw = request("GET", f"{API}/{name}/configuration")
        deadline = time.monotonic() + _UPDATE_LIMIT_S
        configuration = self.connection.exchange(raw).expect().json()
        while configuration[key] != value:
            if configuration[key] == "Failed" or time.monotonic() > deadline:
                raise UnexpectedAnswerError(f"{name}: {key} is {configuration[key]}")
            time.sleep(0.005)
            configuration = self.connection.exchange(raw).expect().json()


def invocation(name: str, event: bytes = b'{"key": "value"}') -> bytes:
    """An Invoke, ready to be sent."""
    return request("POST", f"{API}/{name}/invocations", event)


def package(source: str, files: Mapping[str, bytes]) -> bytes:
    """A zip with one module, `app`, and files by name."""
    path = ROOT / "benchmarks" / "functions" / source
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {f"app{path.suffix}": path.read_bytes(), **files}.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return packed.getvalue()


@contextlib.contextmanager
def samovar(
    setting: Setting, name: str, *, blanks: int = 8, fill: bool = True, **variables: object
) -> Iterator[Samovar]:
    """Run `samovar up` until the block ends. `variables` are settings: `memory_mib=4096`, …"""
    data_dir = setting.directory / f"samovar-{name}"
    command: list[str | Path] = [setting.samovar, "up", "--port", "0", "--no-examples"]
    command += ["--data-dir", data_dir, "--isolation", setting.isolation]
    given = {"blanks": blanks, **variables}
    env = {f"SAMOVAR_{key.upper()}": str(value) for key, value in given.items()}
    with running(
        command,
        directory=setting.directory,
        name=f"samovar-{name}",
        ready=lambda service: _ready_line(service) is not None,
        env=env,
    ) as service:
        address = Address.of(_ready_line(service) or "")
        with Connection(address) as connection:
            health = connection.exchange(request("GET", "/_samovar/health")).expect().json()
            setting.isolation_in_force = health["isolation"]
            runtime = setting.runtime(health["runtimes"])
            server = Samovar(address, service.process.pid, runtime, blanks, connection)
            yield server


def _ready_line(service: Service) -> str | None:
    for line in service.printed().splitlines():
        if line.startswith(_READY):
            return line.split()[2]
    return None
