"""What a function's owner may ask for beyond AWS's settings: tags that begin with `samovar:`.

samovar:keep-alive         the policy that decides how long its idle instances are kept
samovar:soft-concurrency   requests in one instance from which on another one is preferred
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from samovar.model.function import MAX_CONCURRENCY_PER_INSTANCE

PREFIX = "samovar:"
KEEP_ALIVE = PREFIX + "keep-alive"
SOFT_CONCURRENCY = PREFIX + "soft-concurrency"

KEEP_ALIVE_POLICIES = ("fixed", "histogram", "greedy-dual", "thrift")
"""What a policy may be called: `manager/policies/` has them."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Those tags, checked. None: as the platform has it."""

    keep_alive: str | None = None
    soft_concurrency: int | None = None


def tuning_of(tags: Mapping[str, str]) -> Tuning:
    """What the tags of a function ask for; those that are not ours are nobody's concern here.

    Raises `ValueError` for one of ours that there is not, or that makes no sense."""
    ours = {key: value for key, value in tags.items() if key.startswith(PREFIX)}
    unknown = sorted(ours.keys() - {KEEP_ALIVE, SOFT_CONCURRENCY})
    if unknown:
        raise ValueError(
            f"There is no tag {unknown[0]}; those with {PREFIX} are {KEEP_ALIVE} and "
            f"{SOFT_CONCURRENCY}."
        )
    policy, soft = ours.get(KEEP_ALIVE), ours.get(SOFT_CONCURRENCY)
    if policy is not None and policy not in KEEP_ALIVE_POLICIES:
        raise ValueError(
            f"The tag {KEEP_ALIVE} must be one of {', '.join(KEEP_ALIVE_POLICIES)}, not {policy}."
        )
    if soft is not None and not _is_concurrency(soft):
        raise ValueError(
            f"The tag {SOFT_CONCURRENCY} must be a number from 1 to "
            f"{MAX_CONCURRENCY_PER_INSTANCE}, not {soft}."
        )
    return Tuning(policy, None if soft is None else int(soft))


def _is_concurrency(text: str) -> bool:
    short = len(text) <= len(str(MAX_CONCURRENCY_PER_INSTANCE))
    if not (short and text.isascii() and text.isdigit()):
        return False
    return 1 <= int(text) <= MAX_CONCURRENCY_PER_INSTANCE
