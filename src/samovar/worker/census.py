"""Counts what is on a worker, and what it really uses, when somebody asks."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from samovar.census import WorkerCensus
from samovar.model.function import FunctionId, FunctionVersion
from samovar.model.instance import InstanceId, InstanceState
from samovar.ports import SandboxInstance, WorkerStatus
from samovar.worker.capacity import Capacity

AT_ONCE = 32
"""Instances that are looked at before others have their turn: each costs some file reads."""


class Resident(Protocol):
    """What is asked of an instance."""

    handle: SandboxInstance
    state: InstanceState
    version: FunctionVersion


@dataclass(frozen=True, slots=True)
class Counted:
    """What is on a worker: looked at, never changed."""

    capacity: Capacity
    instances: Mapping[InstanceId, Resident]

    async def census(
        self, status: WorkerStatus, promised_vcpus: float, blanks: int
    ) -> WorkerCensus:
        """See `census.WorkerView`."""
        used_bytes: Counter[FunctionId] = Counter()
        for number, resident in enumerate(list(self.instances.values()), 1):
            if resident.state is not InstanceState.STOPPING:  # else it may be gone by its turn
                used_bytes[resident.version.id] += resident.handle.usage().memory_bytes
            if not number % AT_ONCE:
                await asyncio.sleep(0)
        states = Counter(resident.state for resident in self.instances.values())
        shown = [state for state in InstanceState if state is not InstanceState.GONE]
        return WorkerCensus(
            status=status,
            usable_memory_mib=self.capacity.usable_memory_mib,
            processors=self.capacity.processors,
            memory_oversubscription=self.capacity.memory_oversubscription,
            cpu_oversubscription=self.capacity.cpu_oversubscription,
            promised_vcpus=promised_vcpus,
            instances={state: states[state] for state in shown},
            blanks=blanks,
            busy_s=busy_s(),
            used_mib={function: used >> 20 for function, used in used_bytes.items()},
        )


def busy_s(stat: Path = Path("/proc/stat")) -> float:
    """For how long the machine's processors have been at work since it booted, all together; what
    other guests of its host took is not counted. 0: not known. (proc_stat(5))"""
    ticks = 0
    with contextlib.suppress(OSError, ValueError):
        with stat.open() as lines:
            _, user, nice, system, _, _, irq, softirq, *_ = lines.readline().split()
        ticks = sum(map(int, (user, nice, system, irq, softirq)))
    return ticks / os.sysconf("SC_CLK_TCK")
