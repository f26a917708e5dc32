"""How many batches of a queue are delivered at once. Pure.

As AWS does: few to begin with, a few more each second while all of them are busy, and fewer where
the function is throttled. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
"""

from __future__ import annotations

FIRST = 5
MOST = 1000
SECONDS_PER_STEP = 0.2
"""AWS adds 300 a minute."""


class Pace:
    """See the module's text."""

    def __init__(self, most: int | None = None) -> None:
        self._most = MOST if most is None else most
        self._stepped_at = 0.0
        self.limit = min(FIRST, self._most)

    def succeeded(self, busy: int, now: float) -> None:
        """A batch was delivered, while so many were."""
        if busy >= self.limit and now - self._stepped_at >= SECONDS_PER_STEP:
            self.limit = min(self.limit + 1, self._most)
            self._stepped_at = now

    def throttled(self) -> None:
        """A batch could not begin."""
        self.limit = max(self.limit // 2, 1)
