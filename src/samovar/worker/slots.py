"""Admission: what a worker has promised to its instances. Pure accounting."""

from __future__ import annotations

from typing import NamedTuple

from samovar.capacity import UNLIMITED_VCPUS, VCPU_TOLERANCE
from samovar.model.instance import InstanceId


class _Promise(NamedTuple):
    memory_mib: int
    vcpus: float


class Slots:
    """Promises of memory, in MiB, and of vCPUs, against a fixed capacity."""

    def __init__(self, memory_mib: int, vcpus: float = UNLIMITED_VCPUS) -> None:
        self.memory_mib = memory_mib
        self.vcpus = vcpus
        self._taken: dict[InstanceId, _Promise] = {}
        self._promised_mib = 0
        self._promised_vcpus = 0.0

    @property
    def promised_memory_mib(self) -> int:
        """To all instances together."""
        return self._promised_mib

    @property
    def promised_vcpus(self) -> float:
        """Likewise."""
        return self._promised_vcpus

    @property
    def free_memory_mib(self) -> int:
        """What can still be promised."""
        return self.memory_mib - self._promised_mib

    @property
    def free_vcpus(self) -> float:
        """Likewise."""
        return max(0.0, self.vcpus - self._promised_vcpus)

    def shortage(self, memory_mib: int, vcpus: float) -> str | None:
        """What there is too little of, in words; None: it fits."""
        if memory_mib > self.free_memory_mib:
            return f"{self.free_memory_mib} of the {self.memory_mib} MB that it may promise left"
        if vcpus > self.free_vcpus + VCPU_TOLERANCE:
            return f"{self.free_vcpus:.2f} of the {self.vcpus:.2f} vCPUs that it may promise left"
        return None

    def take(self, instance: InstanceId, memory_mib: int, vcpus: float = 0.0) -> bool:
        """Promise so much to an instance; False where there is not enough."""
        if self.shortage(memory_mib, vcpus) is not None:
            return False
        self._taken[instance] = _Promise(memory_mib, vcpus)
        self._promised_mib += memory_mib
        self._promised_vcpus += vcpus
        return True

    def give_back(self, instance: InstanceId) -> None:
        """End a promise. Idempotent."""
        promise = self._taken.pop(instance, None)
        if promise is not None:
            self._promised_mib -= promise.memory_mib
            # Sums of shares are not exact: with nothing promised they begin anew.
            left = self._promised_vcpus - promise.vcpus
            self._promised_vcpus = left if self._taken else 0.0
