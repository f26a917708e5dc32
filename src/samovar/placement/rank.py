"""The ranking: which of the feasible workers is best. The least tuple wins.

1. Not where all instances of the version are already, as long as there is anywhere else: one
   machine that fails must not take all of them. (Else what follows would keep them together: the
   first place is the one that has the code.)
2. Locality: a template to fork from, then code that is unpacked already.
3. Spreading: the zone with the fewest of the version's instances, in it the worker with the fewest.
4. The least strain, in steps: contention costs every neighbour, a small difference nobody.
5. Bin-packing: the least room that suffices, so that large holes stay whole.
6. The name, so that a tie is always broken alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from samovar.model.function import MIB_PER_VCPU
from samovar.model.instance import WorkerId
from samovar.ports import Need, Pressure, WorkerStatus

STRAIN_STEPS = (0.1, 0.3, 0.6)
"""Shares of time in which something had to wait for the machine."""


class Rank(NamedTuple):
    """See the module's text."""

    holds_all: bool
    locality: int
    in_zone: int
    here: int
    strain: int
    room_mib: int
    id: WorkerId


def rank(need: Need, worker: WorkerStatus, in_zone: Mapping[str, int]) -> Rank:
    """The rank of one worker; `in_zone`: how many instances of the version each zone has."""
    return Rank(
        holds_all=worker.id == sole_place(need),
        locality=locality(need, worker),
        in_zone=in_zone.get(worker.zone, 0),
        here=need.beside.get(worker.id, 0),
        strain=strain(worker.pressure),
        room_mib=room_mib(worker),
        id=worker.id,
    )


def sole_place(need: Need) -> WorkerId | None:
    """The worker that has every instance of the version; None where there are several, or none."""
    return next(iter(need.beside)) if len(need.beside) == 1 else None


def locality(need: Need, worker: WorkerStatus) -> int:
    """0: it has the template. 1: it has the code. 2: neither."""
    if need.template and need.template in worker.templates:
        return 0
    return 1 if need.code_sha256 in worker.warm_code else 2


def strain(pressure: Pressure) -> int:
    """In which step it is; the last where memory is to be given back."""
    if pressure.reclaim_mib:
        return len(STRAIN_STEPS)
    stalled = max(pressure.cpu_stalled, pressure.memory_stalled)
    return sum(stalled >= step for step in STRAIN_STEPS)


def room_mib(worker: WorkerStatus) -> int:
    """How much memory an instance could have that uses as many vCPUs as go with it: what is free
    of whichever is scarcer."""
    return min(worker.free_memory_mib, int(worker.free_vcpus * MIB_PER_VCPU))
