"""When records arrived at their source."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

from samovar.clock import Clock


def epoch(moment: Any) -> float | None:
    """A time in an answer as seconds since the epoch."""
    return moment.timestamp() if isinstance(moment, dt.datetime) else None


def platform_time(arrived: float | None, clock: Clock) -> float | None:
    """A service's time, which is the machine's, as the platform's clock had it: what arrives after
    that clock was advanced is no older than what arrived before."""
    return None if arrived is None else clock.now() - max(time.time() - arrived, 0.0)
