"""Counts the instances and requests of every function, when somebody asks (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from samovar.census import FunctionCensus, ManagerCensus
from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.pool import Pool
from samovar.manager.tally import Tally
from samovar.model.function import FunctionId
from samovar.model.instance import InstanceState

SHOWN = (
    InstanceState.STARTING,
    InstanceState.IDLE,
    InstanceState.BUSY,
    InstanceState.STOPPING,
)


@dataclass(slots=True)
class _Sum:
    """Of the pools of one function."""

    instances: Counter[InstanceState] = field(default_factory=Counter)
    provisioned: int = 0
    running: int = 0
    waiting: int = 0
    declared_mib: int = 0

    def add(self, pool: Pool) -> None:
        """Count one more pool in."""
        for member in pool.members:
            self.instances[member.state] += 1
            self.running += member.running
        self.instances[InstanceState.STARTING] += pool.starts.total
        self.provisioned += pool.members.provisioned
        self.waiting += len(pool.tickets)
        self.declared_mib += pool.version.memory_mib * len(pool.members)

    def told(self, function: FunctionId) -> FunctionCensus:
        return FunctionCensus(
            function=function,
            instances={state: self.instances[state] for state in SHOWN},
            provisioned=self.provisioned,
            running=self.running,
            waiting=self.waiting,
            declared_mib=self.declared_mib,
        )


def census_of(pools: Iterable[Pool], ledger: ConcurrencyLedger, tally: Tally) -> ManagerCensus:
    """What there is in these pools, each of them given once."""
    sums: dict[FunctionId, _Sum] = {}
    for pool in pools:
        if len(pool.members) or pool.starts.total or pool.tickets:
            sums.setdefault(pool.version.id, _Sum()).add(pool)
    return ManagerCensus(
        functions=[total.told(function) for function, total in sums.items()],
        counts=tally.counts(),
        other_counts=tally.other_counts(),
        in_use=ledger.total_in_use,
        limit=ledger.account_limit,
    )
