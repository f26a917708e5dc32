"""One decision: the best worker for a need.

How this works. The answer is that of filtering and ranking every worker (`feasible.py`, `rank.py`);
the index (`fleet.py`) only spares looking at those that cannot be it. The nearest come first: who
has the template, who has the code, then everybody. Few are looked at one by one; of many, each
group is asked for its best, which is the first in the order of room that fits and has none of the
version's instances.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from samovar.capacity import VCPU_TOLERANCE
from samovar.model.function import MIB_PER_VCPU
from samovar.model.instance import WorkerId
from samovar.placement.feasible import feasible
from samovar.placement.fleet import Fleet, Group, Spot
from samovar.placement.rank import rank, sole_place
from samovar.ports import Need

FEW = 16
"""So many are looked at one by one, and as many as the square root of all: asking the groups, in
which each of them has to be found, costs about as much."""

Among = Mapping[WorkerId, Spot]
"""Those that hold something."""


class _Found(NamedTuple):
    """The best of a group: what of its rank differs between groups, and where it is."""

    in_zone: int
    here: int
    strain: int
    room_mib: int
    id: WorkerId
    spot: Spot


class Search:
    """See the module's text."""

    def __init__(self, fleet: Fleet, need: Need, few: int = FEW) -> None:
        self._fleet = fleet
        self._need = need
        self._few = max(few, math.isqrt(len(fleet.spots)))
        self._in_zone = _in_zones(fleet, need)
        self._avoided = sole_place(need)
        self._fewest = 0
        """No worker has fewer instances of the version: where it is found, the search is over."""
        if need.beside and len(need.beside) >= len(fleet.spots):
            self._fewest = min(need.beside.values())

    def best(self) -> Spot | None:
        """Where to place it; None: nowhere."""
        fleet, need = self._fleet, self._need
        found = (
            self._among(fleet.with_template(need.template))
            or self._among(fleet.with_code(need.code_sha256))
            or self._of_groups(None)
        )
        if found is None and self._avoided is not None:
            last = fleet.spots.get(self._avoided)
            return last if last is not None and feasible(need, last.status) else None
        return found

    def _among(self, holders: Among) -> Spot | None:
        if len(holders) > self._few:
            return self._of_groups(holders)
        able = [
            (rank(self._need, spot.status, self._in_zone), spot)
            for name, spot in holders.items()
            if name != self._avoided and feasible(self._need, spot.status)
        ]
        return min(able)[1] if able else None

    def _of_groups(self, among: Among | None) -> Spot | None:
        best: _Found | None = None
        for kind, group in self._fleet.groups.items():
            if not group.suits(self._need):
                continue
            in_zone = self._in_zone.get(kind.zone, 0)
            if best is not None and best[:3] < (in_zone, self._fewest, kind.strain):
                continue  # whatever it has is no better
            found = self._first(group, among)
            if found is not None:
                here, spot = found
                candidate = _Found(in_zone, here, kind.strain, spot.room_mib, spot.status.id, spot)
                best = candidate if best is None else min(best, candidate)
        return None if best is None else best.spot

    def _first(self, group: Group, among: Among | None) -> tuple[int, Spot] | None:
        """The first in a group's order of those with the fewest instances of the version, and how
        many these are."""
        need, places, avoided = self._need, group.places, self._avoided
        memory_mib, vcpus = need.memory_mib, need.vcpus - VCPU_TOLERANCE
        least_mib = memory_mib
        if not group.kind.memory_only:
            least_mib = min(memory_mib, int(vcpus * MIB_PER_VCPU))
        best: tuple[int, Spot] | None = None
        for position in range(bisect_left(places, (least_mib,)), len(places)):
            _, name, spot = places[position]
            status = spot.status
            if memory_mib > status.free_memory_mib or vcpus > status.free_vcpus:
                continue
            if (
                name == avoided
                or name in need.refused_by
                or (among is not None and name not in among)
            ):
                continue
            if need.disk_mib > status.free_disk_mib and need.code_sha256 not in status.warm_code:
                continue
            here = need.beside.get(name, 0)
            if best is None or here < best[0]:
                best = (here, spot)
                if here <= self._fewest:
                    break
        return best


def _in_zones(fleet: Fleet, need: Need) -> Mapping[str, int]:
    """How many instances of the version each zone has; nothing where there is one zone."""
    if len({kind.zone for kind in fleet.groups}) < 2:
        return {}
    counts: dict[str, int] = {}
    for worker, instances in need.beside.items():
        spot = fleet.spots.get(worker)
        if spot is not None:
            zone = spot.status.zone
            counts[zone] = counts.get(zone, 0) + instances
    return counts
