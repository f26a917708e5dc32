"""A rate that is kept to: a token bucket (pure)."""

from __future__ import annotations


class Bucket:
    """Full at first. It may go into debt: what is taken then is given by and by."""

    __slots__ = ("_at", "_tokens", "capacity", "per_s")

    def __init__(self, capacity: float, per_s: float, now: float) -> None:
        self.capacity = capacity
        self.per_s = per_s
        self._tokens = capacity
        self._at = now

    def tokens(self, now: float) -> float:
        """How many there are; less than none where there is a debt. What is not used beyond the
        capacity is lost."""
        gained = (now - self._at) * self.per_s
        self._tokens = min(self.capacity, self._tokens + gained)
        self._at = now
        return self._tokens

    def take(self, now: float) -> float:
        """Take one; return after how many seconds it is there."""
        self._tokens = self.tokens(now) - 1.0
        return max(0.0, -self._tokens / self.per_s)

    def wait_s(self, now: float) -> float:
        """After how many seconds there is one."""
        return max(0.0, (1.0 - self.tokens(now)) / self.per_s)

    def give_back(self) -> None:
        """One that was taken was not used."""
        self._tokens += 1.0
