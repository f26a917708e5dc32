"""Response streaming: how soon the first byte is there, and how fast the rest comes.

A warm function in Node.js writes five bytes, waits 20 ms, and writes the last four. What is timed
is from sending InvokeWithResponseStream to having those five; beside it a plain Invoke of a
function in Node.js that answers at once. Then a response of many MB, read as fast as it comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.connection import Connection, UnexpectedAnswerError, request
from benchmarks.figures import Figure, Findings, median, percentile
from benchmarks.samovar import FULL_VCPU_MIB, invocation, samovar
from benchmarks.service import NotAvailableError
from benchmarks.setting import Setting
from benchmarks.suites.runtimes import node_runtime

TITLE = "Response streaming (Node.js, one connection)"

_STREAMS = "/2021-11-15/functions/stream/response-streaming-invocations"
_END = b"\r\n0\r\n\r\n"
_TAIL_BYTES = 1024
_MB = 1_000_000


def measure(setting: Setting) -> Findings:
    findings = Findings("stream")
    rounds = setting.pick(full=300, quick=20)
    megabytes = setting.pick(full=100, quick=20)
    try:
        runtime = node_runtime()
    except NotAvailableError as error:
        findings.skipped["all of it"] = str(error)
        return findings
    with samovar(setting, "stream") as server:
        server.create("stream", memory_mib=FULL_VCPU_MIB, source="stream.cjs", runtime=runtime)
        server.create("plain", memory_mib=FULL_VCPU_MIB, source="hello.cjs", runtime=runtime)
        plain, small = invocation("plain"), request("POST", _STREAMS, b"{}")
        large = request("POST", _STREAMS, b'{"bytes": %d}' % (megabytes * _MB))
        with Connection(server.address) as connection:
            times_ms: dict[str, list[float]] = {"first byte": [], "plain": []}
            for round_ in range(-3, rounds):  # the first ones start the instances
                begun = time.perf_counter()
                connection.exchange(plain).expect()
                between = time.perf_counter()
                first_at = _read_stream(connection, small)
                if round_ >= 0:
                    times_ms["plain"].append((between - begun) * 1e3)
                    times_ms["first byte"].append((first_at - between) * 1e3)
            begun = time.perf_counter()
            _read_stream(connection, large)
            rate = megabytes / (time.perf_counter() - begun)
    findings.samples = {f"{name} ms": times for name, times in times_ms.items()}
    for name, of in (("p50", median), ("p99", lambda values: percentile(values, 0.99))):
        findings.figures.append(_figure(name, of, times_ms))
    what = f"a response of {megabytes} MB"
    findings.figures.append(Figure(what, rate, "MB/s", more_is_better=True))
    return findings


def _figure(
    name: str, of: Callable[[list[float]], float], times_ms: dict[str, list[float]]
) -> Figure:
    first, plain = of(times_ms["first byte"]), of(times_ms["plain"])
    return Figure(f"first byte, {name}", first, "ms", f"plain invocation, {name}", plain)


def _read_stream(connection: Connection, raw_request: bytes) -> float:
    """Send a request and read its stream to the end; return when the first byte was there."""
    connection.send(raw_request)
    first_at, tail = 0.0, b""
    while not tail.endswith(_END):
        tail = tail[-_TAIL_BYTES:] + connection.read()
        if not first_at and b"first" in tail:
            first_at = time.perf_counter()
    if not first_at or b"InvokeComplete" not in tail or b"ErrorCode" in tail:
        raise UnexpectedAnswerError(f"a stream that ended with {tail[-300:]!r}")
    return first_at
