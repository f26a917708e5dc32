"""The Python runtime loop alone, without isolation and server: `python -m benchmarks.warm_loop`.

Forks instances from a zygote like the sandbox's and speaks to them over a socketpair, caller and
instance on one core. Prints invocations per second when warm, and what a small function's init and
first invocation cost when cold: on demand, and as a blank that has waited (and rehearsed).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import median, percentile
from benchmarks.setting import PYTHON, ROOT
from samovar.guest import wire
from samovar.sandbox.process.zygote import PRELOAD

FUNCTION = """
import json, os, logging

logger = logging.getLogger()
GREETING = os.environ.get("GREETING", "hello")

def handler(event, context):
    return {"message": GREETING + " " + str(event.get("name")), "id": context.aws_request_id}
"""

ZYGOTE = f"""
import gc, os, socket, sys
import {PRELOAD}
sys.path.append(sys.argv[1])
from samovar.guest.python_loop import prepare, serve
sys.path.pop()
control = socket.socket(fileno=int(sys.argv[2]))
gc.disable(); gc.collect(); gc.freeze()
while True:
    order, fds, _, _ = socket.recv_fds(control, 100, 3)
    if not order:
        break
    if order.startswith(b"end "):
        os.waitpid(int(order[4:]), 0)
        control.send(b"ended")
        continue
    pid = os.fork()
    if pid == 0:
        try:
            control.close()
            if order == b"blank":
                gc.enable()
                prepare(fds[2])
            os.read(fds[2], 1)
            os.dup2(fds[1], 1)
            os.dup2(fds[1], 2)
            os.closerange(fds[0] + 1, 100)
            serve(socket.socket(fileno=fds[0]))
        finally:
            os._exit(1)
    for fd in fds:
        os.close(fd)
    control.send(b"%d" % pid)
"""

KINDS = {
    "forked on demand": (b"fork", 0.0),
    "blank, taken before it rehearsed": (b"blank", 0.01),
    "blank, rehearsed": (b"blank", 0.06),
}
"""What to ask the zygote for, and how long to leave it alone."""


class Instance:
    """One fork of the zygote."""

    def __init__(self, control: socket.socket, order: bytes, task_root: str) -> None:
        self._control = control
        self.channel, theirs = socket.socketpair()
        output, their_output = os.pipe()
        waiting, self._wake = os.pipe()
        socket.send_fds(control, [order], [theirs.fileno(), their_output, waiting])
        theirs.close()
        os.close(their_output)
        os.close(waiting)
        self._output = output
        self._pid = int(control.recv(100))
        self._init = wire.encode(wire.INIT, _init_meta(task_root))
        self._reader = wire.FrameReader()

    def init(self) -> wire.Frame:
        """Assign a blank, and run the init phase."""
        os.write(self._wake, b"!")
        return self.ask(self._init)

    def ask(self, frame: bytes) -> wire.Frame:
        """Send a frame and read the answer."""
        self.channel.sendall(frame)
        while True:
            for frame in self._reader.feed(self.channel.recv(wire.RECV_BYTES)):
                return frame

    def cpu_s(self) -> float:
        """The processor time that it has taken so far."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def leave_alone(self, seconds: float) -> None:
        """Let it do what it does unasked."""
        select.select([self.channel], [], [], seconds)

    def close(self) -> None:
        """End it."""
        self.channel.close()
        self._control.send(b"end %d" % self._pid)
        self._control.recv(100)
        os.close(self._output)
        os.close(self._wake)


@contextlib.contextmanager
def zygote(python: str) -> Iterator[socket.socket]:
    """A running zygote's control socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [python, "-I", "-S", "-c", ZYGOTE, str(ROOT / "src"), str(theirs.fileno())]
    with ours, subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL):
        theirs.close()
        try:
            yield ours
        finally:
            ours.close()  # which ends it


def warm(control: socket.socket, task_root: str, seconds: float) -> dict[str, float]:
    """One caller, one instance, one event after the other."""
    instance = Instance(control, b"fork", task_root)
    instance.init()
    event = b'{"name": "tea", "padding": "' + b"x" * 60 + b'"}'
    frame = wire.encode(wire.INVOKE, _invoke_meta(), event)
    send, recv, clock = instance.channel.sendall, instance.channel.recv, time.perf_counter
    took_us = []
    cpu_s = -instance.cpu_s() - time.process_time()
    begun = now = clock()
    while now - begun < seconds:
        send(frame)
        recv(wire.RECV_BYTES)
        before, now = now, clock()
        took_us.append((now - before) * 1e6)
    instance_s = instance.cpu_s()
    cpu_s += instance_s + time.process_time()
    instance.close()
    return {
        "invocations_per_cpu_s": len(took_us) / cpu_s,
        "instance_cpu_us": instance_s * 1e6 / len(took_us),
        "invocations_per_s": len(took_us) / (now - begun),
        "p50_us": median(took_us),
        "p99_us": percentile(took_us, 0.99),
    }


def cold(control: socket.socket, task_root: str, repeats: int) -> dict[str, dict[str, float]]:
    """Init and first invocation of each kind of instance, in turns."""
    frame = wire.encode(wire.INVOKE, _invoke_meta(), b'{"name": "tea"}')
    samples: dict[str, dict[str, list[float]]] = {}
    for _ in range(repeats):
        for name, (order, seconds) in KINDS.items():
            instance = Instance(control, order, task_root)
            instance.leave_alone(seconds)
            begun = time.perf_counter()
            kind, meta, body = instance.init()
            ready = time.perf_counter()
            assert kind == wire.READY, body
            assert instance.ask(frame)[0] == wire.RESPONSE
            done = time.perf_counter()
            instance.close()
            of = samples.setdefault(name, {"init": [], "until ready": [], "first": []})
            of["init"].append(meta["init_ms"])
            of["until ready"].append((ready - begun) * 1e3)
            of["first"].append((done - ready) * 1e3)
    return {
        name: {f"{what} p50 ms": median(values) for what, values in of.items()}
        for name, of in samples.items()
    }


def main() -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.warm_loop", description=__doc__)
    parser.add_argument("--python", default=PYTHON, help="the interpreter of the instances")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to measure warm calls")
    parser.add_argument("--repeats", type=int, default=50, help="how many cold starts of each kind")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="samovar-bench-") as task_root:
        Path(task_root, "app.py").write_text(FUNCTION)
        with zygote(arguments.python) as control:
            found: dict[str, Any] = {
                "python": arguments.python,
                "cold": cold(control, task_root, arguments.repeats),
                "warm": warm(control, task_root, arguments.seconds),
            }
    print(json.dumps(_rounded(found), indent=1))
    return 0


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def _init_meta(task_root: str) -> wire.Meta:
    env = {f"AWS_LAMBDA_{number}": "a value of middling length" for number in range(20)}
    return {"handler": "app.handler", "task_root": task_root, "env": env, "runtime": "python3"}


def _invoke_meta() -> wire.Meta:
    return {
        "id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        "arn": "arn:aws:lambda:us-east-1:000000000000:function:greet",
        "deadline_ms": int(time.time() * 1e3) + 3_600_000,
    }


if __name__ == "__main__":
    sys.exit(main())
