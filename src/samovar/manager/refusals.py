"""What the manager says to requests that it cannot serve."""

from __future__ import annotations

from collections.abc import Sequence

from samovar.manager.pool import Pool
from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.ports import Need, WorkerStatus


def shutting_down() -> PlatformError:
    """No new requests are taken."""
    return PlatformError(ErrorCode.UNAVAILABLE, "The server is shutting down.")


def no_capacity(pool: Pool) -> PlatformError:
    """A request has waited for as long as it may."""
    what = "no worker has room for" if pool.blocked else "no instance came free in time for"
    return PlatformError(
        ErrorCode.TOO_MANY_REQUESTS,
        f"Rate Exceeded: {what} {pool.version.id.name} ({pool.version.memory_mib} MB).",
        ThrottleReason.ACCOUNT_CONCURRENCY,
    )


def check_it_could_ever_fit(need: Need, workers: Sequence[WorkerStatus]) -> None:
    """Raise INVALID_RUNTIME or SERVICE where no worker could run it, even with nothing else."""
    able = [worker for worker in workers if need.runtime in worker.runtimes]
    if not able:
        raise PlatformError(
            ErrorCode.INVALID_RUNTIME, f"No worker can run {need.runtime} at this time."
        )
    if all(need.memory_mib > worker.memory_mib for worker in able):
        most = max(worker.memory_mib for worker in able)
        raise PlatformError(
            ErrorCode.SERVICE,
            f"The function asks for {need.memory_mib} MB; the largest worker has {most} MB.",
        )
