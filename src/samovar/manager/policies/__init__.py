"""Keep-alive policies, one small class each: see `manager.keep_alive`."""

from __future__ import annotations

from samovar.manager.keep_alive import KeepAlivePolicy
from samovar.manager.policies.fixed import FixedTimeout
from samovar.manager.policies.greedy_dual import GreedyDual
from samovar.manager.policies.histogram import HybridHistogram
from samovar.manager.policies.thrift import Thrift
from samovar.model.tuning import KEEP_ALIVE_POLICIES


def policy_named(name: str, *, idle_timeout_s: float) -> KeepAlivePolicy:
    """Make a policy with its defaults; `idle_timeout_s` is what `fixed` goes by. Raises
    `ValueError` where there is none of that name."""
    match name:
        case "fixed":
            return FixedTimeout(idle_timeout_s)
        case "histogram":
            return HybridHistogram()
        case "greedy-dual":
            return GreedyDual()
        case "thrift":
            return Thrift()
    raise ValueError(
        f"there is no keep-alive policy {name!r}; there are {', '.join(KEEP_ALIVE_POLICIES)}"
    )
