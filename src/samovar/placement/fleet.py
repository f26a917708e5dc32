"""The index of workers: what makes a decision look at few of them.

How this works. Workers that are alike in everything that a need can demand or dislike, but for
how much they have left, are in one *group*: the same runtimes, architecture, isolation, zone and
step of strain. So a group is asked once, not each worker in it; and in it workers are ordered by
their room, so the best one is the first that fits. Beside that, it is known who has which code and
which template. Those that admit nothing are in no group.

A status moves its worker to where it belongs; what is placed on a worker is taken from it until
its next status.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from samovar.capacity import UNLIMITED_VCPUS
from samovar.model.instance import WorkerId
from samovar.placement.feasible import disk_mib
from samovar.placement.rank import room_mib, strain
from samovar.ports import Need, WorkerStatus


class Kind(NamedTuple):
    """What the workers of a group have in common."""

    runtimes: frozenset[str]
    architecture: str
    driver: str
    fully_isolated: bool
    zone: str
    strain: int
    memory_only: bool
    """Whether memory alone bounds what they promise: then their room is their free memory."""


Place = tuple[int, WorkerId, "Spot"]
"""Room, name, and the worker: as they are ordered. (Names differ, so spots are never compared.)"""


@dataclass(slots=True, eq=False)
class Group:
    """Workers of one kind."""

    kind: Kind
    example: WorkerStatus
    """One of them: it speaks for all of them, but for room."""
    places: list[Place] = field(default_factory=list)
    """In ascending order."""

    def suits(self, need: Need) -> bool:
        """Whether any of these could run it, given room."""
        return (
            need.runtime in self.kind.runtimes
            and need.architecture == self.kind.architecture
            and (not need.isolation or self.example.isolation.meets(need.isolation))
        )


@dataclass(slots=True, eq=False)
class Spot:
    """A worker, and where it is in the index."""

    status: WorkerStatus
    """Its newest, less what has been placed there since."""
    group: Group | None = None
    room_mib: int = 0


Spots = dict[WorkerId, Spot]


class Fleet:
    """See the module's text."""

    def __init__(self) -> None:
        self.spots: Spots = {}
        self.groups: dict[Kind, Group] = {}
        self._with_code: dict[str, Spots] = {}
        self._with_template: dict[str, Spots] = {}

    def with_code(self, sha256_hex: str) -> Mapping[WorkerId, Spot]:
        """The workers that have a package unpacked."""
        return self._with_code.get(sha256_hex, {})

    def with_template(self, arn: str) -> Mapping[WorkerId, Spot]:
        """The workers that have a version's template."""
        return self._with_template.get(arn, {})

    def observe(self, status: WorkerStatus) -> None:
        """Put a worker where its status says that it belongs."""
        spot = self.spots.get(status.id)
        old_code: frozenset[str] = frozenset()
        old_templates: frozenset[str] = frozenset()
        if spot is None:
            spot = self.spots[status.id] = Spot(status)
        else:
            old_code, old_templates = spot.status.warm_code, spot.status.templates
            spot.status = status
        self._settle(spot, self._group_of(status))
        _reindex(self._with_code, spot, old_code, status.warm_code)
        _reindex(self._with_template, spot, old_templates, status.templates)

    def forget(self, worker: WorkerId) -> None:
        """Take a worker out. Unknown ones are no error."""
        spot = self.spots.pop(worker, None)
        if spot is not None:
            self._settle(spot, None)
            _reindex(self._with_code, spot, spot.status.warm_code, frozenset())
            _reindex(self._with_template, spot, spot.status.templates, frozenset())

    def take(self, spot: Spot, need: Need) -> None:
        """Count what is needed as taken."""
        had = spot.status
        spot.status = replace(
            had,
            free_memory_mib=had.free_memory_mib - need.memory_mib,
            free_vcpus=had.free_vcpus - need.vcpus,
            free_disk_mib=had.free_disk_mib - disk_mib(need, had),
        )
        self._settle(spot, spot.group)

    def _group_of(self, status: WorkerStatus) -> Group | None:
        if status.draining or not status.pressure.admits:
            return None
        kind = Kind(
            status.runtimes,
            status.architecture,
            status.isolation.driver,
            not status.isolation.missing,
            status.zone,
            strain(status.pressure),
            status.vcpus >= UNLIMITED_VCPUS,
        )
        group = self.groups.get(kind)
        if group is None:
            group = self.groups[kind] = Group(kind, status)
        return group

    def _settle(self, spot: Spot, group: Group | None) -> None:
        """Move a spot to its place in a group (None: in none)."""
        name, room = spot.status.id, room_mib(spot.status)
        old = spot.group
        if old is group and room == spot.room_mib:
            return
        if old is not None:
            del old.places[bisect_left(old.places, (spot.room_mib, name))]
            if old is not group and not old.places:
                del self.groups[old.kind]
        spot.group, spot.room_mib = group, room
        if group is not None:
            insort(group.places, (room, name, spot))


def _reindex(index: dict[str, Spots], spot: Spot, old: Iterable[str], new: frozenset[str]) -> None:
    if old is new or old == new:
        return
    name = spot.status.id
    for key in frozenset(old) - new:
        holders = index[key]
        del holders[name]
        if not holders:
            del index[key]
    for key in new.difference(old):
        index.setdefault(key, {})[name] = spot
