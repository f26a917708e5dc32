"""How fast a function may go: requests a second, and instances in ten seconds (pure).

https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html: 1,000 execution environments
every 10 seconds, for each function by itself; what is not used of it is not saved up.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html: 10 requests a second for each
unit of concurrency, of the account or what is reserved.
"""

from __future__ import annotations

from dataclasses import dataclass

from samovar.manager.bucket import Bucket
from samovar.manager.limits import throttled
from samovar.model.errors import ThrottleReason

SCALING_PERIOD_S = 10.0


@dataclass(frozen=True, slots=True)
class RateLimits:
    """As configured."""

    scaling_rate: int = 1000
    """Instances that a function may start in ten seconds because requests wait. 0: any number."""
    invocation_rate_factor: int = 0
    """Requests a second for each request that it may have at once. 0: any number."""


class Rates:
    """Of one function."""

    __slots__ = ("_invocations", "_limits", "_starts")

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._invocations: Bucket | None = None
        self._starts: Bucket | None = None

    def invoked(self, now: float, reserved: int | None, account: int) -> None:
        """Count a request, or raise TOO_MANY_REQUESTS. It may have `reserved` at once, or shares
        `account`."""
        factor = self._limits.invocation_rate_factor
        if not factor or reserved == 0:  # that one is stopped by its concurrency
            return
        per_s = float(factor * (account if reserved is None else reserved))
        bucket = self._invocations
        if bucket is None:
            bucket = self._invocations = Bucket(per_s, per_s, now)
        bucket.capacity = bucket.per_s = per_s
        if bucket.tokens(now) < 1.0:
            shared = reserved is None
            rate, own = ThrottleReason.INVOCATION_RATE, ThrottleReason.RESERVED_INVOCATION_RATE
            raise throttled(rate if shared else own)
        bucket.take(now)

    def check_start(self, now: float, queue: int) -> None:
        """Raise TOO_MANY_REQUESTS where so many requests wait for starts that may not be yet."""
        if self._limits.scaling_rate and self._bucket(now).tokens(now) + queue < 1.0:
            raise throttled(ThrottleReason.ACCOUNT_CONCURRENCY)

    def start(self, now: float) -> float:
        """Count a start; return after how many seconds it may be."""
        return self._bucket(now).take(now) if self._limits.scaling_rate else 0.0

    def wait_s(self, now: float) -> float:
        """After how many seconds a start may be."""
        return self._bucket(now).wait_s(now) if self._limits.scaling_rate else 0.0

    def start_given_up(self) -> None:
        """One that was counted has not been begun."""
        if self._starts is not None:
            self._starts.give_back()

    def _bucket(self, now: float) -> Bucket:
        if self._starts is None:
            rate = float(self._limits.scaling_rate)
            self._starts = Bucket(rate, rate / SCALING_PERIOD_S, now)
        return self._starts
