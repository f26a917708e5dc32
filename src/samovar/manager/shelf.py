"""The instances that can take another request, by how many they have (pure)."""

from __future__ import annotations

from collections.abc import Iterable

from samovar.model.instance import InstanceId


class Shelf:
    """One level for each number of running requests. Within a level the one that came last is
    taken first, so that the others can expire."""

    __slots__ = ("_filled", "_levels")

    def __init__(self) -> None:
        self._levels: dict[int, dict[InstanceId, None]] = {}
        self._filled = 0
        """A bit for each level that holds something: finding one costs the same for any number."""

    def put(self, instance: InstanceId, running: int) -> None:
        """Add an instance that has so many requests."""
        level = self._levels.get(running)
        if level is None:
            level = self._levels[running] = {}
        level[instance] = None
        self._filled |= 1 << running

    def remove(self, instance: InstanceId, running: int) -> None:
        """Take away one that is there with so many requests."""
        level = self._levels[running]
        del level[instance]
        if not level:
            self._filled &= ~(1 << running)

    def fullest_below(self, limit: int) -> InstanceId | None:
        """The fullest one that has less than `limit` requests."""
        filled = self._filled & ((1 << limit) - 1)
        if not filled:
            return None
        return next(reversed(self._levels[filled.bit_length() - 1]))

    def emptiest(self) -> InstanceId | None:
        """One of those that have the fewest requests."""
        if not self._filled:
            return None
        lowest = (self._filled & -self._filled).bit_length() - 1
        return next(reversed(self._levels[lowest]))

    @property
    def idle(self) -> int:
        """How many have no request."""
        return len(self._levels.get(0, ()))

    def idle_instances(self) -> Iterable[InstanceId]:
        """Those, the one that came first at the front."""
        return self._levels.get(0, ())
