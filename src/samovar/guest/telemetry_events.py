"""The records of the Telemetry API, and what the older Logs API has instead of them.

https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html,
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-logs-api.html

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Record = Any

_FALLEN_BEHIND = "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."
_INIT = {"initializationType": "on-demand", "phase": "init"}
_LOGS_API_TYPES = {
    "platform.start": "platform.start",
    "platform.report": "platform.report",
    "platform.extension": "platform.extension",
    "platform.telemetrySubscription": "platform.logsSubscription",
    "platform.logsDropped": "platform.logsDropped",
    "platform.end": "platform.end",
    "platform.fault": "platform.fault",
    "function": "function",
    "extension": "extension",
}


OF_LOGS_API_ALONE = frozenset({"platform.end", "platform.fault"})


def iso_time(seconds: float) -> str:
    """`2022-10-12T00:00:15.064Z`, of seconds since the epoch."""
    time = dt.datetime.fromtimestamp(seconds, dt.timezone.utc)  # noqa: UP017 - Python 3.9
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def encode(kind: str, record: Record, time: str) -> bytes:
    """One event, as both APIs send it."""
    return json.dumps({"time": time, "type": kind, "record": record}).encode()


def for_logs_api(kind: str, record: Record, schema_version: str) -> tuple[str, Record] | None:
    """What the Logs API says instead; None: nothing."""
    if kind == "platform.runtimeDone" and schema_version == "2021-03-18":
        return kind, {"requestId": record["requestId"], "status": record["status"]}
    if kind not in _LOGS_API_TYPES:
        return None
    if kind in ("platform.start", "platform.report"):
        record = {k: v for k, v in record.items() if k in ("requestId", "version", "metrics")}
    return _LOGS_API_TYPES[kind], record


def _tracing(trace_id: str) -> dict[str, str]:
    tracing = {"type": "X-Amzn-Trace-Id", "value": trace_id}
    parents = [part[7:] for part in trace_id.split(";") if part.startswith("Parent=")]
    return {"spanId": parents[0], **tracing} if parents else tracing


def init_start(env: Mapping[str, str]) -> Record:
    """platform.initStart"""
    return {
        **_INIT,
        "functionName": env.get("AWS_LAMBDA_FUNCTION_NAME", ""),
        "functionVersion": env.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
    }


def _init_status(error_type: str) -> Record:
    error = {"status": "error", "errorType": error_type}
    return {**_INIT, **(error if error_type else {"status": "success"})}


def init_runtime_done(error_type: str = "") -> Record:
    """platform.initRuntimeDone"""
    return _init_status(error_type)


def init_report(duration_ms: float, error_type: str = "") -> Record:
    """platform.initReport"""
    return {**_init_status(error_type), "metrics": {"durationMs": round(duration_ms, 2)}}


def extension(name: str, state: str, events: list[str], error_type: str = "") -> Record:
    """platform.extension"""
    error = {"errorType": error_type} if error_type else {}
    return {"name": name, "state": state, "events": events, **error}


def subscription(name: str, types: frozenset[str]) -> Record:
    """platform.telemetrySubscription"""
    return {"name": name, "state": "Subscribed", "types": sorted(types)}


def start(request_id: str, version: str, trace_id: str) -> Record:
    """platform.start"""
    return {"requestId": request_id, "version": version, "tracing": _tracing(trace_id)}


def runtime_done(
    request_id: str,
    status: str,
    error_type: str,
    duration_ms: float,
    produced_bytes: int,
    trace_id: str,
) -> Record:
    """platform.runtimeDone. `status` is `success`, `error` or `timeout`."""
    error = {"errorType": error_type} if status == "error" else {}
    metrics = {"durationMs": round(duration_ms, 3), "producedBytes": produced_bytes}
    return {
        "requestId": request_id,
        "status": status,
        **error,
        "metrics": metrics,
        "tracing": _tracing(trace_id),
    }


def report(figures: Mapping[str, Any]) -> Record:
    """platform.report, of the figures that the worker has (`wire.REPORT`)."""
    metrics = {
        "durationMs": figures["run_ms"],
        "billedDurationMs": figures["billed_ms"],
        "memorySizeMB": figures["memory_mib"],
        "maxMemoryUsedMB": figures["peak_mib"],
    }
    if figures.get("init_ms") is not None:
        metrics["initDurationMs"] = figures["init_ms"]
    error = {"errorType": figures["error_type"]} if figures.get("error_type") else {}
    return {
        "requestId": figures["id"],
        "status": figures["status"],
        **error,
        "metrics": metrics,
    }


def logs_dropped(records: int, size_bytes: int) -> Record:
    """platform.logsDropped"""
    return {
        "droppedRecords": records,
        "droppedBytes": size_bytes,
        "reason": _FALLEN_BEHIND,
    }
