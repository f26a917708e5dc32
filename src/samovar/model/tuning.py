"""What a function's owner may ask for beyond AWS's settings: tags that begin with `samovar:`.

samovar:keep-alive         the policy that decides how long its idle instances are kept
samovar:soft-concurrency   requests in one instance from which on another one is preferred
"""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "samovar:"
KEEP_ALIVE = PREFIX + "keep-alive"
SOFT_CONCURRENCY = PREFIX + "soft-concurrency"

KEEP_ALIVE_POLICIES = ("fixed", "histogram", "greedy-dual")
"""What a policy may be called: `manager/policies/` has them."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Those tags, checked. None: as the platform has it."""

    keep_alive: str | None = None
    soft_concurrency: int | None = None
