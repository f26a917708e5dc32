"""How many blanks should wait, by the starts of late. Pure: it is told the time.

How this works. A blank makes a start quick and costs some 3 MiB while it waits; one is made in some
10 ms, at leisure. So what counts is how many starts come faster than that: the largest *burst* of
the last minutes, the starts within a window that is longer than it takes to make a blank. So many
wait, and a few more. A runtime that has just been asked for has as many as it may, for whoever asks
is about to use it; after minutes without a burst a few are left.
"""

from __future__ import annotations

from collections import deque

FEW = 2
"""Beyond the largest burst."""
REMEMBERED_S = 300.0
"""How long a burst counts, and the beginning."""
_WINDOW_S = 0.25
_SPAN_S = 10.0
"""Of a span no more is kept than its largest burst."""


class Demand:
    """Of one runtime. `most`: never more blanks than that; `now_s` only ever grows."""

    def __init__(self, most: int, now_s: float) -> None:
        self._most = most
        self._begun_s = now_s
        self._window = -1
        """The number of the last window in which something started."""
        self._count = 0
        self._count_before = 0
        """Starts in that window, and in the one before it: a burst may lie across their border."""
        self._bursts: deque[tuple[int, int]] = deque()
        """Spans by number, and the largest burst of each."""

    def started(self, now_s: float) -> None:
        """An instance has been asked for."""
        window = int(now_s // _WINDOW_S)
        if window != self._window:
            self._count_before = self._count if window == self._window + 1 else 0
            self._window, self._count = window, 0
        self._count += 1
        span, burst = int(now_s // _SPAN_S), self._count_before + self._count
        if self._bursts and self._bursts[-1][0] == span:
            burst = max(burst, self._bursts.pop()[1])
        self._bursts.append((span, burst))

    def wanted(self, now_s: float) -> int:
        """Blanks that should wait now."""
        if now_s - self._begun_s < REMEMBERED_S:
            return self._most
        oldest = int((now_s - REMEMBERED_S) // _SPAN_S)
        while self._bursts and self._bursts[0][0] < oldest:
            self._bursts.popleft()
        return min(self._most, FEW + max((burst for _, burst in self._bursts), default=0))
