"""The ranking: which of the feasible workers is best. Higher tuples win."""

from __future__ import annotations

from samovar.ports import Need, WorkerStatus


def rank(need: Need, worker: WorkerStatus) -> tuple[bool, int, str]:
    """Code locality first (no fetch, no unpacking), then the least room that still suffices
    (bin-packing keeps large holes whole), then the name, so that a tie is always broken alike."""
    return (need.code_sha256 in worker.warm_code, -worker.free_memory_mib, worker.id)
