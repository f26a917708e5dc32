"""Metrics in Prometheus's text format.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format

The labels that strangers choose (a function's name, its region) are escaped and cut, and there is
none that they could make any number of: tenants are not told apart, and functions only up to a
bound (`look.py`, `samovar.manager.tally`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from samovar.capacity import UNLIMITED_VCPUS
from samovar.census import FunctionCensus, FunctionCounts, WorkerCensus
from samovar.frontend.look import Look
from samovar.model.function import FunctionId

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

OTHERS = FunctionId("", "", "(others)")
"""What those are called that are counted together: no function can have that name."""

MAX_LABEL_CHARS = 256
MIB = 1 << 20

Labels = dict[str, str]
Sample = tuple[Labels, float]


class Metric(NamedTuple):
    """One family: its name, what it says, and whether it never falls."""

    name: str
    help: str
    counter: bool = False


WORKER_METRICS = {
    metric.name: metric
    for metric in (
        Metric("samovar_worker_memory_promised_bytes", "Memory promised to instances."),
        Metric("samovar_worker_memory_promisable_bytes", "Memory that may be promised in all."),
        Metric("samovar_worker_memory_used_bytes", "Memory that instances really use."),
        Metric("samovar_worker_memory_usable_bytes", "Memory that instances may really use."),
        Metric("samovar_worker_memory_oversubscription_ratio", "Promisable / usable memory."),
        Metric("samovar_worker_memory_reclaim_bytes", "Memory wanted back from idle instances."),
        Metric("samovar_worker_vcpus_promised", "vCPUs promised to instances."),
        Metric("samovar_worker_vcpus_promisable", "vCPUs that may be promised; absent: any."),
        Metric("samovar_worker_cpu_oversubscription_ratio", "Promisable vCPUs / processors."),
        Metric("samovar_worker_processors", "Processors that instances may run on."),
        Metric(
            "samovar_worker_processors_busy_seconds_total",
            "Time at work of all processors since boot.",
            counter=True,
        ),
        Metric("samovar_worker_stalled_ratio", "Share of the last 10 s with something waiting."),
        Metric("samovar_worker_disk_free_bytes", "Disk that code may take."),
        Metric("samovar_worker_admits", "Whether it takes new instances (1) or not (0)."),
        Metric("samovar_worker_draining", "Whether it is being drained."),
        Metric("samovar_worker_instances", "Instances by state."),
        Metric("samovar_worker_blanks", "Isolated processes that wait for code."),
        Metric("samovar_worker_templates", "Templates that instances are forked from."),
    )
}

FUNCTION_METRICS = {
    metric.name: metric
    for metric in (
        Metric("samovar_function_instances", "Instances by state."),
        Metric("samovar_function_provisioned_instances", "Those for provisioned concurrency."),
        Metric("samovar_function_requests", "Requests, in instances and waiting for one."),
        Metric("samovar_function_memory_declared_bytes", "Memory that instances declare."),
        Metric("samovar_function_memory_used_bytes", "Memory that instances really use."),
        Metric("samovar_function_cold_starts_total", "Instances started, by cause.", counter=True),
        Metric("samovar_function_failed_starts_total", "Starts that failed.", counter=True),
        Metric("samovar_function_throttles_total", "Requests refused, by reason.", counter=True),
        Metric("samovar_function_evictions_total", "Stopped to make room.", counter=True),
    )
}

PLATFORM_METRICS = {
    metric.name: metric
    for metric in (
        Metric("samovar_concurrency_in_use", "Requests that count against the account."),
        Metric("samovar_concurrency_limit", "The account's concurrency."),
        Metric("samovar_functions_left_out", "Functions with instances, beyond those told of."),
    )
}

METRICS = {**PLATFORM_METRICS, **WORKER_METRICS, **FUNCTION_METRICS}


def exposition(look: Look) -> bytes:
    """The page: every family with its samples."""
    samples: dict[str, list[Sample]] = {name: [] for name in METRICS}
    for name, labels, value in _samples(look):
        samples[name].append((labels, value))
    lines: list[str] = []
    for name, metric in METRICS.items():
        lines.append(f"# HELP {name} {metric.help}")
        lines.append(f"# TYPE {name} {'counter' if metric.counter else 'gauge'}")
        lines += [f"{name}{_shown(labels)} {value:.15g}" for labels, value in samples[name]]
    return ("\n".join(lines) + "\n").encode(errors="backslashreplace")


Found = Iterable[tuple[str, Labels, float]]


def _samples(look: Look) -> Iterator[tuple[str, Labels, float]]:
    yield "samovar_concurrency_in_use", {}, look.manager.in_use
    yield "samovar_concurrency_limit", {}, look.manager.limit
    yield "samovar_functions_left_out", {}, look.left_out
    for worker in look.workers:
        yield from _of_worker(worker)
    for census in look.functions:
        yield from _of_function(census, look.used_mib(census.function))
    for function, counts in look.manager.counts.items():
        yield from _of_counts(function, counts)
    yield from _of_counts(OTHERS, look.manager.other_counts)


def _of_worker(census: WorkerCensus) -> Found:
    status = census.status
    pressure = status.pressure
    labels = {"worker": status.id, "zone": status.zone}
    values: dict[str, float] = {
        "memory_promised_bytes": (status.memory_mib - status.free_memory_mib) * MIB,
        "memory_promisable_bytes": status.memory_mib * MIB,
        "memory_used_bytes": pressure.memory_used_mib * MIB,
        "memory_usable_bytes": census.usable_memory_mib * MIB,
        "memory_oversubscription_ratio": census.memory_oversubscription,
        "memory_reclaim_bytes": pressure.reclaim_mib * MIB,
        "vcpus_promised": census.promised_vcpus,
        "cpu_oversubscription_ratio": census.cpu_oversubscription,
        "processors": census.processors,
        "processors_busy_seconds_total": census.busy_s,
        "disk_free_bytes": status.free_disk_mib * MIB,
        "admits": pressure.admits and not status.draining,
        "draining": status.draining,
        "blanks": census.blanks,
        "templates": len(status.templates),
    }
    if status.vcpus < UNLIMITED_VCPUS:
        values["vcpus_promisable"] = status.vcpus
    for name, value in values.items():
        yield f"samovar_worker_{name}", labels, value
    for resource, stalled in (("cpu", pressure.cpu_stalled), ("memory", pressure.memory_stalled)):
        yield "samovar_worker_stalled_ratio", labels | {"resource": resource}, stalled
    for state, count in census.instances.items():
        yield "samovar_worker_instances", labels | {"state": state.value}, count


def _of_function(census: FunctionCensus, used_mib: int) -> Found:
    labels = _labels(census.function)
    for state, count in census.instances.items():
        yield "samovar_function_instances", labels | {"state": state.value}, count
    yield "samovar_function_provisioned_instances", labels, census.provisioned
    yield "samovar_function_requests", labels | {"state": "running"}, census.running
    yield "samovar_function_requests", labels | {"state": "waiting"}, census.waiting
    yield "samovar_function_memory_declared_bytes", labels, census.declared_mib * MIB
    yield "samovar_function_memory_used_bytes", labels, used_mib * MIB


def _of_counts(function: FunctionId, counts: FunctionCounts) -> Found:
    labels = _labels(function)
    for cause, count in counts.cold_starts.items():
        yield "samovar_function_cold_starts_total", labels | {"cause": cause.value}, count
    yield "samovar_function_failed_starts_total", labels, counts.failed_starts
    for reason, count in counts.throttles.items():
        yield "samovar_function_throttles_total", labels | {"reason": reason}, count
    yield "samovar_function_evictions_total", labels, counts.evictions


def _labels(function: FunctionId) -> Labels:
    return {"account": function.account, "region": function.region, "function": function.name}


def _shown(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    cut = value[:MAX_LABEL_CHARS]
    return cut.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
