"""Concurrency limits: account, and reserved per function. Pure accounting.

AWS (https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html): a function with
reserved concurrency may use that much and no more, and what is reserved is taken from what all
the others share. Provisioned concurrency is taken from the function's reserved concurrency, or,
where it has none, from what is shared, used or not. A request that no provisioned instance serves
counts as *on demand*, from the moment it is admitted until it has been answered, waiting included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.function import FunctionId

UNRESERVED_MINIMUM = 100
"""AWS always leaves so much for functions without a reservation."""


@dataclass(slots=True)
class _Share:
    """A version's part of what is provisioned."""

    asked: int = 0
    in_use: int = 0
    """Requests that run in its provisioned instances."""

    @property
    def counts(self) -> int:
        """What it takes of the limits."""
        return max(self.asked, self.in_use)


class ConcurrencyLedger:
    """Who uses how much of which limit."""

    def __init__(self, account_limit: int, reserved: Mapping[FunctionId, int]) -> None:
        self.account_limit = account_limit
        self._reserved = dict(reserved)
        self._reserved_sum = sum(self._reserved.values())
        self._in_use: dict[FunctionId, int] = {}
        self._total_in_use = 0
        self._unreserved_in_use = 0
        self._provisioned: dict[FunctionId, dict[str, _Share]] = {}
        self._total_provisioned = 0
        self._total_occupied = 0
        """Requests that run in provisioned instances."""
        self._unreserved_provisioned = 0

    @property
    def unreserved_limit(self) -> int:
        """What functions without a reservation share."""
        return self.account_limit - self._reserved_sum

    @property
    def total_in_use(self) -> int:
        """Requests on demand of all functions that have been admitted and not yet answered."""
        return self._total_in_use

    def in_use(self, function: FunctionId) -> int:
        """Likewise of one function."""
        return self._in_use.get(function, 0)

    def reserved(self, function: FunctionId) -> int | None:
        """A function's reserved concurrency; None: it has none."""
        return self._reserved.get(function)

    def provisioned(self, function: FunctionId) -> int:
        """Provisioned concurrency of all versions of a function together, used or not; and what
        is still in use of more than that."""
        versions = self._provisioned.get(function)
        return sum(share.counts for share in versions.values()) if versions else 0

    # ------------------------------------------------------------ requests

    def refusal(self, function: FunctionId) -> PlatformError | None:
        """TOO_MANY_REQUESTS with AWS's reason, where one more on demand is over a limit."""
        reserved = self._reserved.get(function) if self._reserved else None
        if reserved is None:
            shared = self._unreserved_in_use + self._unreserved_provisioned
            if shared >= self.unreserved_limit:
                return throttled(ThrottleReason.ACCOUNT_CONCURRENCY)
        elif self.in_use(function) + self.provisioned(function) >= reserved:
            return throttled(ThrottleReason.RESERVED_CONCURRENCY)
        if self._total_in_use + self._total_provisioned >= self.account_limit:
            # What was just reserved may still be in use by the others.
            return throttled(ThrottleReason.ACCOUNT_CONCURRENCY)
        return None

    def admit(self, function: FunctionId) -> None:
        """Count one request on demand in, or raise what `refusal` says."""
        refusal = self.refusal(function)
        if refusal is not None:
            raise refusal
        self._total_in_use += 1
        self._in_use[function] = self._in_use.get(function, 0) + 1
        if function not in self._reserved:
            self._unreserved_in_use += 1

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

    # ------------------------------------------------------------ reserved

    def reserve(self, function: FunctionId, limit: int | None) -> None:
        """Set or (None) remove a reservation; requests in flight move with it."""
        moved, provisioned = self._in_use.get(function, 0), self.provisioned(function)
        if function in self._reserved:
            self._reserved_sum -= self._reserved.pop(function)
            self._unreserved_in_use += moved
            self._unreserved_provisioned += provisioned
        if limit is not None:
            self._reserved[function] = limit
            self._reserved_sum += limit
            self._unreserved_in_use -= moved
            self._unreserved_provisioned -= provisioned

    def check_reservation(self, function: FunctionId, limit: int) -> None:
        """Raise INVALID_PARAMETER where a reservation would leave too little for the others, or
        for what the function has provisioned."""
        provisioned = self.provisioned(function)
        if limit < provisioned:
            raise PlatformError(
                ErrorCode.INVALID_PARAMETER,
                f"ReservedConcurrentExecutions {limit} should not be lower than function's total "
                f"provisioned concurrency [{provisioned}].",
            )
        own = self._reserved.get(function, provisioned)
        taken = self._reserved_sum + self._unreserved_provisioned - own + limit
        self._check_minimum(taken, limit > own, "ReservedConcurrentExecutions")

    # ------------------------------------------------------------ provisioned

    def provision(self, function: FunctionId, version: str, count: int) -> None:
        """Set a version's provisioned concurrency; requests in flight stay what they are.

        Raises as `check_provision` does; nothing has changed then."""
        self.check_provision(function, version, count)
        share = self._share(function, version)
        share.asked, counted = count, share.counts
        self._recount(function, version, share, counted)

    def occupy(self, function: FunctionId, version: str) -> None:
        """A request runs in a provisioned instance of a version: until `vacate`, that counts, even
        where less is provisioned meanwhile."""
        share = self._share(function, version)
        counted, share.in_use = share.counts, share.in_use + 1
        self._total_occupied += 1
        self._recount(function, version, share, counted)

    def vacate(self, function: FunctionId, version: str) -> None:
        """It has ended."""
        share = self._share(function, version)
        counted, share.in_use = share.counts, share.in_use - 1
        self._total_occupied -= 1
        self._recount(function, version, share, counted)

    def may_occupy(self, function: FunctionId) -> bool:
        """Whether a request may use a provisioned instance: not where requests on demand, from
        before it was provisioned, still use up what it is taken from."""
        if self._total_in_use + self._total_occupied >= self.account_limit:
            return False
        reserved = self._reserved.get(function) if self._reserved else None
        if reserved is None:
            return True
        occupied = sum(share.in_use for share in self._provisioned.get(function, {}).values())
        return self.in_use(function) + occupied < reserved

    def _share(self, function: FunctionId, version: str) -> _Share:
        return self._provisioned.setdefault(function, {}).setdefault(version, _Share())

    def _recount(self, function: FunctionId, version: str, share: _Share, counted: int) -> None:
        change = share.counts - counted
        self._total_provisioned += change
        if function not in self._reserved:
            self._unreserved_provisioned += change
        if not share.counts:
            versions = self._provisioned[function]
            del versions[version]
            if not versions:
                del self._provisioned[function]

    def check_provision(self, function: FunctionId, version: str, count: int) -> None:
        """Raise INVALID_PARAMETER where the function's reservation does not have so much, or where
        too little would be left for the others."""
        share = self._provisioned.get(function, {}).get(version)
        more = count - (share.counts if share else 0)
        reserved = self._reserved.get(function)
        if more <= 0:
            return
        if reserved is None:
            taken = self._reserved_sum + self._unreserved_provisioned + more
            self._check_minimum(taken, True, "ConcurrentExecutions")
        elif self.provisioned(function) + more > reserved:
            raise PlatformError(
                ErrorCode.INVALID_PARAMETER,
                "Requested Provisioned Concurrency should not be greater than the "
                "reservedConcurrentExecution for function",
            )

    def _check_minimum(self, taken: int, grows: bool, what: str) -> None:
        minimum = min(UNRESERVED_MINIMUM, self.account_limit)
        if grows and self.account_limit - taken < minimum:
            raise PlatformError(
                ErrorCode.INVALID_PARAMETER,
                f"Specified {what} for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{minimum}].",
            )


def throttled(reason: ThrottleReason) -> PlatformError:
    """AWS's answer over a limit."""
    return PlatformError(ErrorCode.TOO_MANY_REQUESTS, "Rate Exceeded.", reason)
