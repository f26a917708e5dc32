"""What starting an isolated process costs by other means: the plain interpreter, crun, bwrap."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

from benchmarks.service import NotAvailableError
from benchmarks.setting import PYTHON, Setting

PASS = (PYTHON, "-c", "pass")
"""The least that any Python start costs: it imports nothing, isolates nothing, answers nothing."""

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc")
_CLONE_NEWNS = 0x20000
_MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x4000, 0x40000, 2

Command = tuple[str, ...]
Timed = Callable[[], float]
"""Starts something, waits for its end, and returns how long that took, in seconds."""


def run_once(command: Sequence[str]) -> float:
    """Start a process and wait for its end; the time in seconds."""
    start = time.perf_counter()
    pid = os.posix_spawn(command[0], command, _ENVIRONMENT)
    _, status = os.waitpid(pid, 0)
    elapsed = time.perf_counter() - start
    if status:
        raise NotAvailableError(f"{command[0]} ended with status {status}")
    return elapsed


def run_many(command: Sequence[str], count: int, parallel: int) -> list[float]:
    """Start `count` processes, `parallel` at a time; when each one ended, in seconds from the
    start of the first."""
    done_s: list[float] = []
    to_start = count
    with selectors.DefaultSelector() as selector:

        def spawn() -> None:
            nonlocal to_start
            to_start -= 1
            pid = os.posix_spawn(command[0], command, _ENVIRONMENT)
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)

        start = time.perf_counter()
        for _ in range(min(parallel, count)):
            spawn()
        while len(done_s) < count:
            for key, _ in selector.select():
                os.waitpid(key.data, 0)
                done_s.append(time.perf_counter() - start)
                selector.unregister(key.fd)
                os.close(key.fd)
                if to_start:
                    spawn()
    return done_s


@contextlib.contextmanager
def containers(setting: Setting) -> Iterator[tuple[dict[str, Timed], dict[str, str]]]:
    """What to compare a cold start with, by name; and what is missing, with the reason."""
    available: dict[str, Timed] = {}
    missing: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for name, prepare in (("crun", _crun), ("bwrap", _bwrap)):
            try:
                timed = prepare(setting, stack)
                timed()
            except (NotAvailableError, OSError) as error:
                missing[f"{name} of it"] = str(error)
            else:
                available[name] = timed
        yield available, missing


def _bwrap(_setting: Setting, _stack: contextlib.ExitStack) -> Timed:
    command = [_tool("bwrap"), "--unshare-all", "--ro-bind", "/", "/", *PASS]
    _try(command)
    return lambda: run_once(command)


def _crun(setting: Setting, stack: contextlib.ExitStack) -> Timed:
    """crun refuses machines whose cgroup2 hierarchy has some controllers and not all, even when
    it is to leave cgroups alone: so it gets to see none, in a mount namespace of a thread's own."""
    bundle = setting.directory / "bundle"
    _make_bundle(bundle)
    command = [_tool("crun"), "--cgroup-manager=disabled", "run", "--bundle", str(bundle)]
    command.append(f"samovar-benchmark-{os.getpid()}")
    thread = stack.enter_context(_Apart())
    thread.call(lambda: _try(command))
    return lambda: thread.call(lambda: run_once(command))


def _make_bundle(bundle: Path) -> None:
    """An OCI bundle: the machine's own system read-only, a /tmp and a /proc of its own."""
    for directory in (*_SYSTEM, "/proc", "/tmp", "/dev"):
        (bundle / "rootfs" / directory[1:]).mkdir(parents=True, exist_ok=True)
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=64m"]},
    ]
    mounts += [
        {"destination": path, "type": "none", "source": path, "options": ["rbind", "ro"]}
        for path in _SYSTEM
        if Path(path).exists()
    ]
    namespaces = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]
    linux: dict[str, object] = {"namespaces": namespaces}
    if os.geteuid():
        namespaces.append({"type": "user"})
        linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    process = {
        "user": {"uid": 0, "gid": 0},
        "args": PASS,
        "env": [f"{key}={value}" for key, value in _ENVIRONMENT.items()],
        "cwd": "/",
        "noNewPrivileges": True,
        "capabilities": {},
    }
    config = {
        "ociVersion": "1.0.0",
        "root": {"path": "rootfs", "readonly": True},
        "process": process,
        "mounts": mounts,
        "linux": linux,
    }
    (bundle / "config.json").write_text(json.dumps(config))


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise NotAvailableError(f"{name} is not installed")
    return path


def _try(command: Sequence[str]) -> None:
    """Run it once to see that it works; with its own words where it does not."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise NotAvailableError((done.stderr.strip() or f"status {done.returncode}")[-300:])


class _Apart:
    """A thread with a mount namespace of its own, in which /sys/fs/cgroup is empty."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._results: SimpleQueue[object] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> _Apart:
        self._thread.start()
        self.call(_hide_cgroups)
        return self

    def __exit__(self, *failure: object) -> None:
        self._calls.put(None)
        self._thread.join()

    def call(self, function: Callable[[], object]) -> float:
        """Run a function there; return its result, or raise what it raised."""
        self._calls.put(function)
        result = self._results.get()
        if isinstance(result, Exception):
            raise result
        return result if isinstance(result, float) else 0.0

    def _serve(self) -> None:
        while (function := self._calls.get()) is not None:
            try:
                self._results.put(function())
            except Exception as error:
                self._results.put(error)


def _hide_cgroups() -> None:
    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result:
            raise NotAvailableError(f"no mount namespace: {os.strerror(ctypes.get_errno())}")

    if os.geteuid():
        return  # crun then does as the machine lets it
    check(libc.unshare(_CLONE_NEWNS))
    check(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
    while libc.umount2(b"/sys/fs/cgroup", _MNT_DETACH) == 0:
        pass
    check(libc.mount(b"tmpfs", b"/sys/fs/cgroup", b"tmpfs", 0, None))
