"""How far a shard has been dealt with, where several batches of it run at once. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class Progress:
    """Records in the order of their shard; some are done before others that came first."""

    def __init__(self) -> None:
        self._order: deque[str] = deque()
        self._known: set[str] = set()
        self._done: set[str] = set()

    def __len__(self) -> int:
        """Records that are not done, or wait for others that are not."""
        return len(self._order)

    def add(self, sequence_number: str) -> bool:
        """A record was fetched; False: it is known already, and not done."""
        if sequence_number in self._known:
            return False
        self._known.add(sequence_number)
        self._order.append(sequence_number)
        return True

    def done(self, sequence_numbers: Iterable[str]) -> str | None:
        """These need not be read again. Returns the last record before which, itself included,
        everything is done, where that is another one than before."""
        self._done.update(sequence_numbers)
        last = None
        while self._order and self._order[0] in self._done:
            last = self._order.popleft()
            self._done.remove(last)
            self._known.remove(last)
        return last
