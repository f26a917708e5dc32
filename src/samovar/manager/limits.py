"""Concurrency limits: account, and reserved per function. Pure accounting.

AWS (https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html): a function with
reserved concurrency may use that much and no more, and what is reserved is taken from what all
the others share. A request counts from the moment it is admitted until it has been answered,
waiting included.
"""

from __future__ import annotations

from collections.abc import Mapping

from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.function import FunctionId

UNRESERVED_MINIMUM = 100
"""AWS always leaves so much for functions without a reservation."""


class ConcurrencyLedger:
    """Who uses how much of which limit."""

    def __init__(self, account_limit: int, reserved: Mapping[FunctionId, int]) -> None:
        self.account_limit = account_limit
        self._reserved = dict(reserved)
        self._reserved_sum = sum(self._reserved.values())
        self._in_use: dict[FunctionId, int] = {}
        self._total_in_use = 0
        self._unreserved_in_use = 0

    @property
    def unreserved_limit(self) -> int:
        """What functions without a reservation share."""
        return self.account_limit - self._reserved_sum

    @property
    def total_in_use(self) -> int:
        """Requests of all functions that have been admitted and not yet answered."""
        return self._total_in_use

    def in_use(self, function: FunctionId) -> int:
        """Requests of a function that have been admitted and not yet answered."""
        return self._in_use.get(function, 0)

    def reserved(self, function: FunctionId) -> int | None:
        """A function's reserved concurrency; None: it has none."""
        return self._reserved.get(function)

    def admit(self, function: FunctionId) -> None:
        """Count one request in, or raise TOO_MANY_REQUESTS with AWS's reason."""
        in_use = self._in_use.get(function, 0)
        reserved = self._reserved.get(function)
        if reserved is not None and in_use >= reserved:
            raise _throttled(ThrottleReason.RESERVED_CONCURRENCY)
        if reserved is None and self._unreserved_in_use >= self.unreserved_limit:
            raise _throttled(ThrottleReason.ACCOUNT_CONCURRENCY)
        if self._total_in_use >= self.account_limit:
            # What was just reserved may still be in use by the others.
            raise _throttled(ThrottleReason.ACCOUNT_CONCURRENCY)
        if reserved is None:
            self._unreserved_in_use += 1
        self._total_in_use += 1
        self._in_use[function] = in_use + 1

    def done(self, function: FunctionId) -> None:
        """Count one request out."""
        in_use = self._in_use[function] - 1
        if in_use:
            self._in_use[function] = in_use
        else:
            del self._in_use[function]
        self._total_in_use -= 1
        if function not in self._reserved:
            self._unreserved_in_use -= 1

    def reserve(self, function: FunctionId, limit: int | None) -> None:
        """Set or (None) remove a reservation; requests in flight move with it."""
        moved = self._in_use.get(function, 0)
        if function in self._reserved:
            self._reserved_sum -= self._reserved.pop(function)
            self._unreserved_in_use += moved
        if limit is not None:
            self._reserved[function] = limit
            self._reserved_sum += limit
            self._unreserved_in_use -= moved

    def check_reservation(self, function: FunctionId, limit: int) -> None:
        """Raise INVALID_PARAMETER where a reservation would leave too little for the others."""
        others = self._reserved_sum - self._reserved.get(function, 0)
        minimum = min(UNRESERVED_MINIMUM, self.account_limit)
        if limit > 0 and self.account_limit - others - limit < minimum:
            raise PlatformError(
                ErrorCode.INVALID_PARAMETER,
                "Specified ReservedConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{minimum}].",
            )


def _throttled(reason: ThrottleReason) -> PlatformError:
    return PlatformError(ErrorCode.TOO_MANY_REQUESTS, "Rate Exceeded.", reason)
