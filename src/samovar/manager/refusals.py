"""What the manager says to requests that it cannot serve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from samovar.manager.limits import throttled
from samovar.manager.pool import Pool
from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.function import FunctionVersion
from samovar.model.scale import Scale
from samovar.ports import Need, Refusal, WorkerStatus


def shutting_down() -> PlatformError:
    """No new requests are taken."""
    return PlatformError(ErrorCode.UNAVAILABLE, "The server is shutting down.")


def no_capacity(pool: Pool, why: Sequence[Refusal]) -> PlatformError:
    """A request has waited for as long as it may; `why` workers did not take an instance."""
    most = pool.targets.scale.max_instances
    full = most is not None and len(pool.members) >= most
    what = "no worker has room for" if pool.blocked else "no instance came free in time for"
    because = f": {'; '.join(map(str, why[:3]))}" if pool.blocked and why else ""
    return PlatformError(
        ErrorCode.TOO_MANY_REQUESTS,
        f"Rate Exceeded: {what} {pool.version.id.name} ({pool.version.memory_mib} MB){because}.",
        ThrottleReason.RESERVED_CONCURRENCY if full else ThrottleReason.ACCOUNT_CONCURRENCY,
    )


def never_fits(
    need: Need, why: Sequence[Refusal], workers: Iterable[WorkerStatus]
) -> PlatformError | None:
    """INVALID_RUNTIME or SERVICE where no worker could run it, even with nothing else."""
    if not why or not all(refusal.lasting for refusal in why):
        return None
    able = [worker for worker in workers if need.runtime in worker.runtimes]
    if not able:
        return PlatformError(
            ErrorCode.INVALID_RUNTIME, f"No worker can run {need.runtime} at this time."
        )
    most = max(worker.memory_mib for worker in able)
    if most < need.memory_mib:
        what = f"for {need.memory_mib} MB; the largest worker has {most} MB"
    else:
        what = f"for what no worker has: {'; '.join(map(str, why))}"
    return PlatformError(ErrorCode.SERVICE, f"The function asks {what}.")


def check_most(pool: Pool, queue: int) -> None:
    """Raise TOO_MANY_REQUESTS where all instances that there may be have as many requests as they
    may, and so many wait already. (The limit is the function's own, as a reserved one is.)"""
    most = pool.targets.scale.max_instances
    if most is not None:
        places = most * pool.members.hard
        if pool.members.running + len(pool.tickets) >= places + queue:
            raise throttled(ThrottleReason.RESERVED_CONCURRENCY)


def check_scale(version: FunctionVersion, scale: Scale, workers: Iterable[WorkerStatus]) -> None:
    """Raise INVALID_PARAMETER for what makes no sense of any version, or of this one, or could not
    be kept if there were nothing else."""
    least, most = max(scale.provisioned, scale.min_instances), scale.max_instances
    memory_mib = sum(w.memory_mib for w in workers if version.runtime in w.runtimes)
    if scale.provisioned < 0 or scale.min_instances < 0:
        problem = "No fewer instances than none can be kept."
    elif most is not None and most < max(1, scale.min_instances):
        problem = f"The largest number of instances ({most}) is below the least."
    elif scale.provisioned and version.concurrency > 1:
        problem = "Provisioned Concurrency is not supported with a capacity provider."
    elif scale.provisioned and version.tenant_isolation:
        problem = "Provisioned Concurrency is not supported with tenant isolation."
    elif least * version.memory_mib > memory_mib:
        problem = (
            f"{least} instances of {version.memory_mib} MB are more than the workers could hold: "
            f"they have {memory_mib} MB."
        )
    else:
        return
    raise PlatformError(ErrorCode.INVALID_PARAMETER, problem)
