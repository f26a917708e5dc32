"""The starts of a pool that have been asked for and not yet answered (pure)."""

from __future__ import annotations

from samovar.model.invocation import ColdCause

BEFOREHAND = frozenset({ColdCause.PROVISIONED, ColdCause.MINIMUM, ColdCause.PREDICTED})
"""Causes of starts that no request waits for."""


class Starts:
    """How many there are, by cause."""

    __slots__ = ("_beforehand", "asked")

    def __init__(self) -> None:
        self.asked = 0
        """Because requests wait."""
        self._beforehand: dict[ColdCause, int] = {}

    @property
    def total(self) -> int:
        """All of them."""
        return self.asked + sum(self._beforehand.values())

    def of(self, cause: ColdCause) -> int:
        """Those that no request waits for, for one cause."""
        return self._beforehand.get(cause, 0)

    def count(self, cause: ColdCause, change: int = 1) -> None:
        """One more is asked for, or (-1) one has been answered."""
        if cause in BEFOREHAND:
            self._beforehand[cause] = self.of(cause) + change
        else:
            self.asked += change
