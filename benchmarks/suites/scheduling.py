"""What deciding costs: where an instance goes, and which instance a request gets.

No server, no sandbox: the code that decides, over workers that are there in name only.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import random
import time
from collections.abc import Callable

from benchmarks.figures import Figure, Findings, median, percentile
from benchmarks.setting import Setting
from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.manager import PoolManager
from samovar.model.function import CodeRef, FunctionId, FunctionVersion
from samovar.model.instance import Initialization, InstanceId, WorkerId
from samovar.model.invocation import Outcome
from samovar.model.isolation import Isolation, Layer
from samovar.placement.planner import Planner
from samovar.ports import Need, Pressure, Started, WorkerStatus

TITLE = "What deciding costs"

AIM_US = {1_000: 100.0, 10_000: 1_000.0}
"""Workers → microseconds for a decision, p50."""
AIM_ACQUIRE_US = 20.0

_WORKER_MIB = 64 * 1024
_ZONES = ("a", "b", "c")
_PACKAGES = 3_000
_PACKAGES_ON_A_WORKER = 40
_MEMORY_MIB = (128, 128, 128, 256, 512, 1024, 2048)
_PYTHON = frozenset({"python3.11", "python3.12", "nodejs20.x"})
_ISOLATION = Isolation("process", frozenset(Layer))
_LOOK_UPS = 100


def measure(setting: Setting) -> Findings:
    findings = Findings("scheduling")
    for workers, aim_us in AIM_US.items():
        decisions = setting.pick(5_000, 500)
        for name, package in _packages().items():
            samples, beside = _place(workers, decisions, package)
            what = f"{workers:,} workers, {name}"
            findings.samples[f"{what}, µs"] = samples
            findings.figures += [
                Figure(f"a place of {what}, p50", median(samples), "µs", aim=aim_us),
                Figure(
                    f"a place of {what}, p99",
                    percentile(samples, 0.99),
                    "µs",
                    "min() over them all, p50",
                    median(beside),
                ),
            ]
    per_request, per_look_up = asyncio.run(_acquire(setting.pick(20_000, 2_000)))
    findings.figures += [
        Figure("acquire and release, warm: CPU", median(per_request), "µs", aim=AIM_ACQUIRE_US),
        Figure(
            "the same",
            median(per_request),
            "µs",
            f"{_LOOK_UPS} look-ups in a dict",
            median(per_look_up),
        ),
    ]
    return findings


# ---------------------------------------------------------------- placement


def _packages() -> dict[str, Callable[[random.Random], str]]:
    """Whose code is asked for. Some packages are on nearly every worker, most on few."""
    return {
        "code that is somewhere": _popular,
        "code that is nowhere": lambda dice: f"new-{dice.random()}",
    }


def _popular(dice: random.Random) -> str:
    return f"package-{int(dice.paretovariate(0.6)) % _PACKAGES}"


def _place(
    workers: int, decisions: int, package: Callable[[random.Random], str]
) -> tuple[list[float], list[float]]:
    """Microseconds of each decision, and of each walk over all workers beside it."""
    dice = random.Random(7)
    statuses = [_status(number, dice) for number in range(workers)]
    planner = Planner()
    for status in statuses:
        planner.observe(status)
    spent, beside = [], []
    for number in range(decisions):
        memory_mib = dice.choice(_MEMORY_MIB)
        need = Need("python3.11", memory_mib, package(dice), vcpus=memory_mib / 1769)
        begun = time.perf_counter()
        where = planner.place(need)
        spent.append((time.perf_counter() - begun) * 1e6)
        if where is None:
            raise RuntimeError("the workers are full: the benchmark places too much")
        if not number % 20:
            begun = time.perf_counter()
            min(statuses, key=lambda status: status.free_memory_mib)
            beside.append((time.perf_counter() - begun) * 1e6)
    return spent, beside


def _status(number: int, dice: random.Random) -> WorkerStatus:
    return WorkerStatus(
        id=WorkerId(f"w{number:05}"),
        memory_mib=_WORKER_MIB,
        free_memory_mib=dice.randrange(_WORKER_MIB // 8, _WORKER_MIB),
        isolation=_ISOLATION,
        runtimes=_PYTHON,
        warm_code=frozenset(_popular(dice) for _ in range(_PACKAGES_ON_A_WORKER)),
        vcpus=64.0,
        free_vcpus=dice.uniform(8, 64),
        zone=dice.choice(_ZONES),
        pressure=Pressure(cpu_stalled=dice.random() / 2),
    )


# ---------------------------------------------------------------- manager


async def _acquire(times: int) -> tuple[list[float], list[float]]:
    """Microseconds of CPU for each request, and for the look-ups beside it, in rounds."""
    version = _version()
    known = {f"key-{number}": number for number in range(1000)}
    keys = list(itertools.islice(itertools.cycle(known), _LOOK_UPS))
    rounds = 20
    spent, beside = [], []
    manager = PoolManager(
        [_NamedWorker()],  # type: ignore[list-item]
        Planner(),
        ConcurrencyLedger(1000, {}),
        idle_timeout_s=600,
        queue_timeout_s=60,
    )
    answer = Outcome(b"")
    async with manager:
        manager.release(await manager.acquire(version), answer)
        for _ in range(rounds):
            begun = time.process_time()
            for _ in range(times // rounds):
                manager.release(await manager.acquire(version), answer)
            spent.append((time.process_time() - begun) / (times // rounds) * 1e6)
            begun = time.process_time()
            for _ in range(times // rounds):
                for key in keys:
                    known[key]
            beside.append((time.process_time() - begun) / (times // rounds) * 1e6)
    return spent, beside


def _version() -> FunctionVersion:
    return FunctionVersion(
        id=FunctionId("000000000000", "us-east-1", "f"),
        version="$LATEST",
        revision_id="r",
        runtime="python3.11",
        handler="app.handler",
        role="arn:aws:iam::000000000000:role/r",
        code=CodeRef("ab" * 32, 1),
        last_modified=dt.datetime.now(dt.UTC),
    )


class _NamedWorker:
    """What a manager asks of a worker before anything runs; it starts at once, and nothing."""

    def status(self) -> WorkerStatus:
        return WorkerStatus(WorkerId("w"), _WORKER_MIB, _WORKER_MIB, _ISOLATION, _PYTHON)

    async def start(
        self,
        instance: InstanceId,
        version: FunctionVersion,
        initialization: Initialization = Initialization.ON_DEMAND,
    ) -> Started:
        return Started("fork", 1.0, 1.0)

    async def stop(self, instance: InstanceId, *, in_a_hurry: bool = False) -> None: ...

    def on_exit(self, callback: Callable[[InstanceId], None]) -> None: ...

    def on_pressure(self, callback: Callable[[WorkerId], None]) -> None: ...
