"""The seam between the manager and placement: what workers have, what an instance needs.

*Promised* is what instances were declared with; *used* is what they really use. A worker promises
more than it has by its oversubscription ratios, and says when use comes too near to what there is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from samovar.model.instance import WorkerId
from samovar.model.isolation import Isolation


@dataclass(frozen=True, slots=True)
class Pressure:
    """How near a worker is to the end of what it really has."""

    memory_used_mib: int = 0
    """By all instances together."""
    memory_usable_mib: int = 0
    """What they may use together: real memory, whatever was promised. 0: not known."""
    cpu_stalled: float = 0.0
    """Share of the last ten seconds in which something waited for a processor (PSI some, avg10)."""
    memory_stalled: float = 0.0
    """Likewise for memory."""
    reclaim_mib: int = 0
    """So much should be given back by stopping idle instances, now. 0: all is well."""
    admits: bool = True
    """Whether it takes new instances."""
    reason: str = ""
    """Why it does not: for whoever is refused."""


CALM = Pressure()

UNLIMITED_VCPUS = 1e9
"""Of a worker whose memory alone bounds what it promises."""

VCPU_TOLERANCE = 1e-6
"""Sums of shares are not exact: what exceeds the room by so little still fits."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker as placement sees it: capacity and what it has."""

    id: WorkerId
    memory_mib: int
    """What it may promise to instances in all (usable memory × oversubscription ratio)."""
    free_memory_mib: int
    isolation: Isolation
    runtimes: frozenset[str]
    warm_code: frozenset[str] = frozenset()
    """sha256 of the code packages that are unpacked on it."""
    draining: bool = False
    vcpus: float = UNLIMITED_VCPUS
    """What it may promise in all (processors × oversubscription ratio)."""
    free_vcpus: float = UNLIMITED_VCPUS
    disk_mib: int = 1 << 40
    """For unpacked code. (What is in an instance's /tmp is memory.)"""
    free_disk_mib: int = 1 << 40
    architecture: str = "x86_64"
    templates: frozenset[str] = frozenset()
    """ARNs of the versions that have a template on it."""
    zone: str = ""
    """What fails together: instances of a version are spread over zones."""
    pressure: Pressure = CALM


@dataclass(frozen=True, slots=True)
class Need:
    """What an instance needs of a worker."""

    runtime: str
    memory_mib: int
    code_sha256: str
    vcpus: float = 0.0
    disk_mib: int = 0
    """For its code, where that is not unpacked on the worker."""
    architecture: str = "x86_64"
    isolation: str = ""
    """The driver that it demands at least; empty: any (see `model.isolation`)."""
    template: str = ""
    """The version's ARN, where it is forked from a template."""
    beside: Mapping[WorkerId, int] = field(default_factory=dict)
    """Instances of the same version that each worker has, of those that have any: to spread
    them."""
    refused_by: Collection[WorkerId] = ()
    """Workers that have just taken none, whatever their status says."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why some workers do not take an instance."""

    reason: str
    """In words that end a sentence: `less than 512 MB free`."""
    workers: int
    lasting: bool
    """Whether it would be so if nothing else ran on them."""

    def __str__(self) -> str:
        return f"{self.workers} worker{'' if self.workers == 1 else 's'}: {self.reason}"


class Placement(Protocol):
    """Owns capacity: what it has been told of each worker, less what it has given away since."""

    def observe(self, status: WorkerStatus) -> None:
        """A worker's newest status: takes the place of what was known of it."""
        ...

    def forget(self, worker: WorkerId) -> None:
        """A worker has gone."""
        ...

    def place(self, need: Need) -> WorkerId | None:
        """Return the worker to start on, or None where none has room. What is needed counts as
        taken there until the worker's next status."""
        ...

    def explain(self, need: Need) -> Sequence[Refusal]:
        """Why workers would not take it now, the commonest reason first. It looks at every worker:
        for whoever is refused, not for who decides."""
        ...
