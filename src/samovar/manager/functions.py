"""What the manager keeps of a function beyond its versions: how instances are kept and filled."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from samovar.manager.keep_alive import KeepAlive, KeepAlivePolicy, Profile
from samovar.manager.rates import RateLimits, Rates
from samovar.manager.superseded import Superseded
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionId, FunctionVersion
from samovar.model.tuning import KEEP_ALIVE, Tuning
from samovar.ports import Started

LATELY = 0.3
"""Weight of the newest cold start in what one costs lately."""


@dataclass(slots=True)
class FunctionState:
    """One function."""

    profile: Profile
    keep: KeepAlive
    tuning: Tuning
    rates: Rates

    def soft_limit(self, version: FunctionVersion, target: float) -> int:
        """Requests in one instance from which on another one is preferred."""
        hard = version.concurrency
        return min(hard, self.tuning.soft_concurrency or max(1, math.ceil(target * hard)))

    def has_started(self, started: Started) -> None:
        """A cold start has cost so much."""
        ms, profile = started.start_ms + started.init_ms, self.profile
        old_ms = profile.start_ms or ms
        profile.start_ms = old_ms + LATELY * (ms - old_ms)


class Functions:
    """All functions that have been heard of, and the policies that there are for them."""

    def __init__(
        self,
        policy_named: Callable[[str], KeepAlivePolicy],
        keep_alive: str,
        concurrency_target: float,
        limits: RateLimits,
    ) -> None:
        self.concurrency_target = concurrency_target
        self._policy_named = policy_named
        self._keep_alive = keep_alive
        self._limits = limits
        self.limit_invocations = limits.invocation_rate_factor > 0
        self._policies: dict[str, KeepAlivePolicy] = {}
        self._functions: dict[FunctionId, FunctionState] = {}
        self.superseded = Superseded()
        self._policy(keep_alive)

    def of(self, version: FunctionVersion) -> FunctionState:
        """What is kept of the function that this is a version of. Of one that has been deleted
        nothing is."""
        state = self._functions.get(version.id)
        if state is None:
            profile = Profile(version.id, version.memory_mib)
            keep = self._policy(self._keep_alive).of(profile)
            state = FunctionState(profile, keep, Tuning(), Rates(self._limits))
            if version.key not in self.superseded:
                self._functions[version.id] = state
        state.profile.memory_mib = version.memory_mib
        return state

    def tune(self, function: FunctionId, tuning: Tuning) -> FunctionState:
        """Keep and fill its instances so. Raises INVALID_PARAMETER for a policy that there is not;
        nothing has changed then. A policy that stays keeps what it has learnt."""
        state = self._functions.get(function)
        before = state.tuning.keep_alive if state else None
        policy = self._policy(tuning.keep_alive or self._keep_alive)
        if state is None or tuning.keep_alive != before:
            profile = state.profile if state else Profile(function, 0)
            state = FunctionState(
                profile, policy.of(profile), tuning, state.rates if state else Rates(self._limits)
            )
            self._functions[function] = state
        state.tuning = tuning
        return state

    def forget(self, function: FunctionId) -> None:
        """It has been deleted."""
        self._functions.pop(function, None)

    def _policy(self, name: str) -> KeepAlivePolicy:
        """One object a policy: functions share it."""
        if name not in self._policies:
            try:
                self._policies[name] = self._policy_named(name)
            except ValueError as error:
                raise PlatformError(
                    ErrorCode.INVALID_PARAMETER,
                    f"There is no keep-alive policy {name!r} (the tag {KEEP_ALIVE}).",
                ) from error
        return self._policies[name]
