"""How long idle instances are kept: what a policy is.

How this works. There is one policy object a function (it outlives versions), told of what happens
to that function. When an instance becomes idle, the policy says at which *ages* (seconds since
then) an instance should be there: from 0 on, or not until a little before the next request is
likely. A request that comes ends the plan; the next release makes a new one. Where memory is
scarce, the idle instance with the least *worth* goes first, whoever its function is.

Policies are pure: no I/O, and times are seconds of one monotonic clock, passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from samovar.model.function import FunctionId


class Ages(NamedTuple):
    """From when until when an instance should be there."""

    begin_s: float
    end_s: float
    """`math.inf`: until memory is scarce."""


@dataclass(slots=True)
class Profile:
    """What is known of a function: kept up to date by the manager, read by its policy."""

    function: FunctionId
    memory_mib: int
    start_ms: float = 0.0
    """What a cold start has cost lately, start and init together. 0: not known yet."""


class KeepAlive(Protocol):
    """The policy of one function."""

    def arrived(self, now: float, *, cold: bool) -> None:
        """A request came. `cold`: it has to wait for a start."""
        ...

    def plan(self, now: float) -> Sequence[Ages]:
        """An instance has just become idle: when should one be there? In ascending order, not
        overlapping; the first begins at 0 if this one is to stay; empty: it goes at once."""
        ...

    def worth(self, now: float, idle_since: float) -> float:
        """What an instance that has been idle since then is worth now, against those of other
        functions under the same policy: the least goes first."""
        ...

    def evicted(self, worth: float) -> None:
        """An idle instance of any function, of that worth, had to make room."""
        ...


class KeepAlivePolicy(Protocol):
    """Makes the objects of one kind of policy: what they share is in here."""

    name: str
    """As in settings and tags."""

    def of(self, profile: Profile) -> KeepAlive:
        """The policy of a function that is new to it."""
        ...
