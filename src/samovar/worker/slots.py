"""Admission: the memory that a worker has promised to its instances. Pure accounting."""

from __future__ import annotations

from samovar.model.instance import InstanceId


class Slots:
    """Promises of memory, in MiB, against a fixed capacity."""

    def __init__(self, capacity_mib: int) -> None:
        self.capacity_mib = capacity_mib
        self._taken: dict[InstanceId, int] = {}
        self._free_mib = capacity_mib

    @property
    def free_mib(self) -> int:
        """What can still be promised."""
        return self._free_mib

    def take(self, instance: InstanceId, memory_mib: int) -> bool:
        """Promise memory to an instance; False where there is not enough."""
        if memory_mib > self._free_mib:
            return False
        self._taken[instance] = memory_mib
        self._free_mib -= memory_mib
        return True

    def give_back(self, instance: InstanceId) -> None:
        """End a promise. Idempotent."""
        self._free_mib += self._taken.pop(instance, 0)
