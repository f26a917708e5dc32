"""AWS's words: the platform's log lines, and the error documents for what ends an instance.

Shapes as in https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html and
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html; the words for how a process ended
are those of Go's os.ProcessState, which AWS prints.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from dataclasses import dataclass

from samovar.guest.exit_words import signal_words
from samovar.guest.wire import Meta
from samovar.model.invocation import MAX_STREAMED_BYTES
from samovar.ports import Exit

RESPONSE_LIMIT_BYTES = 6_291_556
"""AWS's limit on a synchronous response, as its error message states it."""


_ERROR_TYPE = re.compile(r"[A-Za-z0-9_.]{1,128}")
"""As an instance may name one in a log line of ours."""
_MAX_MESSAGE_CHARS = 1024


@dataclass(frozen=True, slots=True)
class Fault:
    """An end that the function did not report itself."""

    error_type: str
    message: str
    status: str = "error"
    """As the REPORT line has it: `error` or `timeout`."""

    def document(self, request_id: str) -> bytes:
        """The error document that the client gets."""
        text = f"RequestId: {request_id} Error: {self.message}" if request_id else self.message
        return json.dumps({"errorType": self.error_type, "errorMessage": text}).encode()

    def log_line(self, request_id: str, now: dt.datetime) -> bytes:
        """What AWS writes into the log. `now` is in UTC."""
        if self.status == "timeout":
            when = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"
            return f"{when} {request_id} {self.message}\n\n".encode()
        return f"RequestId: {request_id} Error: {self.message}\n{self.error_type}\n".encode()


class FaultError(Exception):
    """An invocation ended in a fault. `in_order`: its instance can still be used."""

    def __init__(self, fault: Fault, *, in_order: bool = False) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.in_order = in_order


def timed_out(timeout_s: float) -> Fault:
    """The function ran for longer than its timeout."""
    message = f"Task timed out after {timeout_s:.2f} seconds"
    return Fault("Sandbox.Timedout", message, status="timeout")


def exited(end: Exit) -> Fault:
    """The runtime's process ended."""
    if end.out_of_memory:
        return Fault("Runtime.OutOfMemory", "Runtime exited with error: signal: killed")
    if end.signal is not None:
        words = signal_words(end.signal)
        return Fault("Runtime.ExitError", f"Runtime exited with error: {words}")
    if end.code:
        return Fault("Runtime.ExitError", f"Runtime exited with error: exit status {end.code}")
    return Fault("Runtime.ExitError", "Runtime exited without providing a reason")


def declared(meta: Meta, starved: bool) -> Fault:
    """An instance that lives on for its extensions says how its runtime, or one of them, ended.
    `starved`: all of its memory has been in use."""
    error_type, message = str(meta.get("type")), str(meta["fault"])
    if not _ERROR_TYPE.fullmatch(error_type):
        error_type = "Runtime.Unknown"
    killed = "Runtime exited with error: signal: killed"
    if starved and (error_type, message) == ("Runtime.ExitError", killed):
        error_type = "Runtime.OutOfMemory"
    return Fault(error_type, " ".join(message.split())[:_MAX_MESSAGE_CHARS])


def response_too_large() -> Fault:
    """The handler returned more than fits."""
    return _too_large(RESPONSE_LIMIT_BYTES)


def stream_too_large() -> Fault:
    """The handler streamed more than it may."""
    return _too_large(MAX_STREAMED_BYTES)


def _too_large(limit_bytes: int) -> Fault:
    return Fault(
        "Function.ResponseSizeTooLarge",
        f"Response payload size exceeded maximum allowed payload size ({limit_bytes} bytes).",
    )


def start_line(request_id: str, version: str) -> bytes:
    """The first line of an invocation's log."""
    return f"START RequestId: {request_id} Version: {version}\n".encode()


def restore_timed_out(limit_s: float) -> Fault:
    """An instance that was forked from a template did not come up in time."""
    message = f"The after-restore hooks did not finish within {limit_s:.0f} seconds"
    return Fault("SnapStartTimeoutException", message, status="timeout")


@dataclass(frozen=True, slots=True)
class Restore:
    """What it has cost to begin from a snapshot: in all, and by the function's own hooks."""

    total_ms: float
    hooks_ms: float

    def line(self) -> bytes:
        """The line for it alone."""
        return f"RESTORE_REPORT Restore Duration: {self.total_ms:.2f} ms\n".encode()

    def field(self) -> str:
        """Its part of a REPORT line."""
        return (
            f"Restore Duration: {self.total_ms:.2f} ms\t"
            f"Billed Restore Duration: {math.ceil(self.hooks_ms)} ms\t"
        )


@dataclass(frozen=True, slots=True)
class Figures:
    """What an invocation has cost. `init_ms` is given for an instance's first one."""

    request_id: str
    run_ms: float
    memory_mib: int
    peak_bytes: int
    init_ms: float | None = None
    fault: Fault | None = None
    restore: Restore | None = None

    @property
    def billed_ms(self) -> int:
        """AWS bills an instance's init, too (since August 2025)."""
        return math.ceil(self.run_ms + (self.init_ms or 0.0))

    @property
    def peak_mib(self) -> int:
        """Of its memory."""
        return min(self.memory_mib, math.ceil(self.peak_bytes / (1 << 20)))

    def lines(self) -> bytes:
        """The END and REPORT lines."""
        line = (
            f"END RequestId: {self.request_id}\n"
            f"REPORT RequestId: {self.request_id}\tDuration: {self.run_ms:.2f} ms\t"
            f"Billed Duration: {self.billed_ms} ms\tMemory Size: {self.memory_mib} MB\t"
            f"Max Memory Used: {self.peak_mib} MB\t"
        )
        if self.init_ms is not None:
            line += f"Init Duration: {self.init_ms:.2f} ms\t"
        if self.restore is not None:
            line += self.restore.field()
        if self.fault is not None:
            line += f"Status: {self.fault.status}\t"
            if self.fault.status == "error":
                line += f"Error Type: {self.fault.error_type}\t"
        return f"{line}\n".encode()

    def meta(self) -> Meta:
        """The same, as the meta of `wire.REPORT`."""
        told: Meta = {
            "id": self.request_id,
            "status": self.fault.status if self.fault else "success",
            "run_ms": round(self.run_ms, 2),
            "billed_ms": self.billed_ms,
            "memory_mib": self.memory_mib,
            "peak_mib": self.peak_mib,
        }
        if self.init_ms is not None:
            told["init_ms"] = round(self.init_ms, 2)
        if self.fault is not None and self.fault.status == "error":
            told["error_type"] = self.fault.error_type
        return told


def snapshot_report(init_ms: float) -> bytes:
    """The line for the init phase of a snapshot, its hooks included."""
    return f"INIT_REPORT Init Duration: {init_ms:.2f} ms\n".encode()


def init_report(init_ms: float, error_type: str | None) -> bytes:
    """The line for an init phase that failed, or (without a type) that took too long."""
    line = f"INIT_REPORT Init Duration: {init_ms:.2f} ms\tPhase: init\t"
    line += "Status: timeout" if error_type is None else f"Status: error\tError Type: {error_type}"
    return f"{line}\n".encode()
