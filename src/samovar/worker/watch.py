"""Looks at what a worker's instances really use, and has done what `pressure` decides.

How this works. `run` looks as often as `pressure` says while something runs, now and then while
all instances are idle, and not at all while there is none. Each look is one synchronous `look`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from samovar.capacity import Pressure
from samovar.model.instance import InstanceId, InstanceState
from samovar.ports import SandboxInstance
from samovar.telemetry.log import get_logger
from samovar.worker import pressure
from samovar.worker.gauges import Gauges
from samovar.worker.pressure import Holder, Level, Reading, Sentence
from samovar.worker.slots import Slots

log = get_logger("worker")

AT_REST_S = 2.0
"""Between two looks while nothing runs: what is idle may still grow."""

PATIENCE_LOOKS = 10
"""So often idle instances are asked for before one goes that does not depend on being idle."""


class Resident(Protocol):
    """What is asked of an instance."""

    handle: SandboxInstance
    state: InstanceState

    @property
    def declared_mib(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Room:
    """What there is, what all instances use of it, in bytes, and what they were promised."""

    limit_mib: int
    used_bytes: Callable[[], int]
    promised: Slots


class Templates(Protocol):
    """What is asked of those that instances are forked from."""

    @property
    def begun(self) -> Mapping[InstanceId, Resident]:
        """Those that there are, being made and being ended included."""
        ...

    def drop_one(self, *, though_used: bool = False) -> bool:
        """Begin to end one that nobody runs from, or any one. False: there is none."""
        ...


class PressureWatch:
    """See the module. `residents` is looked at, never changed; `end` ends an instance or a
    template; `changed` is called when the pressure is another one, and while idle instances are
    asked for."""

    def __init__(
        self,
        room: Room,
        gauges: Gauges,
        residents: Mapping[InstanceId, Resident],
        templates: Templates,
        end: Callable[[Sentence], None],
        changed: Callable[[], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._room = room
        self._gauges = gauges
        self._residents = residents
        self._templates = templates
        self._end = end
        self._changed = changed
        self._monotonic = monotonic
        self._level = Level.CALM
        self._reading = Reading(0, room.limit_mib, 0)
        self._looked_at = monotonic() - AT_REST_S
        self._critical_looks = 0
        self._astray_told = False
        self._at_rest = True
        self._awake = asyncio.Event()
        self._closing = False

    @property
    def pressure(self) -> Pressure:
        """As of the last look."""
        return pressure.pressure(self._level, self._reading)

    def refusal(self, need_mib: int) -> str | None:
        """Why an instance that declares so much cannot start now; None: it can."""
        if self._monotonic() - self._looked_at >= pressure.OFTEN_S:
            self.look()
        if pressure.admits(self._level, self._reading, need_mib):
            return None
        return pressure.reason(self._reading)

    def wake(self) -> None:
        """Something runs now."""
        if self._at_rest:
            self._awake.set()

    def close(self) -> None:
        """Have `run` return."""
        self._closing = True
        self._awake.set()

    async def run(self) -> None:
        """Look until `close`."""
        if not self._gauges.tells_stalls:
            log.info("no PSI on this machine: contention is told by what memory is used alone")
        while not self._closing:
            self.look()  # also when the last one has gone: nothing is in use then
            self._at_rest = self._level is Level.CALM and not self._runs()
            self._awake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s()):
                    await self._awake.wait()
        self._gauges.close()

    def look(self) -> None:
        """Look once, and have done what is to be done."""
        before = self._level, self.pressure
        self._reading = reading = self._read()
        self._looked_at = self._monotonic()
        self._level = pressure.level(self._level, reading)
        now = self.pressure
        if self._level is not before[0]:
            log.info(
                "memory pressure",
                level=self._level.name.lower(),
                used_mib=reading.used_mib,
                usable_mib=reading.usable_mib,
                promised_mib=reading.promised_mib,
            )
        self._relieve(reading, spare_go=now.reclaim_mib > 0)
        asked = now.reclaim_mib and self._has(InstanceState.IDLE)
        if asked or now.admits != before[1].admits or self._level is not before[0]:
            self._changed()

    # ------------------------------------------------------------ inside

    def _read(self) -> Reading:
        leaving = sum(
            resident.handle.usage().memory_bytes
            for resident in self._all().values()
            if resident.state is InstanceState.STOPPING
        )
        return Reading(
            used_mib=max(0, self._room.used_bytes() - leaving) >> 20,
            limit_mib=self._room.limit_mib,
            promised_mib=self._room.promised.promised_memory_mib,
            spare_mib=self._gauges.spare_mib(),
            cpu_stalled=self._gauges.stalled("cpu"),
            memory_stalled=self._gauges.stalled("memory"),
        )

    def _relieve(self, reading: Reading, *, spare_go: bool) -> None:
        """End who must go. What is idle goes first: templates that nobody runs from, one a look,
        and instances, which are asked for; they are given some time."""
        gives_way = spare_go and self._templates.drop_one()
        if self._level is not Level.CRITICAL:
            self._critical_looks = 0
            self._astray_told = False
            return
        self._critical_looks += 1
        is_patient = self._critical_looks <= PATIENCE_LOOKS
        if is_patient and (gives_way or self._has(InstanceState.IDLE)):
            return
        holders = [
            Holder(id_, resident.handle.usage().memory_bytes >> 20, resident.declared_mib)
            for id_, resident in self._all().items()
            if resident.state is not InstanceState.STOPPING
        ]
        chosen = pressure.sentences(reading, holders)
        for sentence in chosen:
            self._end(sentence)
        if not chosen and not is_patient:  # the memory of who has just ended may go a little later
            self._drop_for(reading, pressure.astray_mib(reading, holders))

    def _drop_for(self, reading: Reading, astray_mib: int) -> None:
        """What fills the memory is nobody's, or shared by forks: templates may hold it."""
        if not astray_mib:
            return
        if not self._astray_told:
            self._astray_told = True
            log.warning(
                "memory is full of what no instance tells of",
                astray_mib=astray_mib,
                used_mib=reading.used_mib,
                usable_mib=reading.usable_mib,
            )
        self._templates.drop_one(though_used=True)

    def _all(self) -> Mapping[InstanceId, Resident]:
        return {**self._residents, **self._templates.begun}

    def _runs(self) -> bool:
        is_made = any(
            template.state is InstanceState.STARTING for template in self._templates.begun.values()
        )
        return is_made or self._has(InstanceState.BUSY) or self._has(InstanceState.STARTING)

    def _has(self, state: InstanceState) -> bool:
        return any(resident.state is state for resident in self._residents.values())

    def _interval_s(self) -> float | None:
        if not self._residents and self._at_rest:
            return None
        return AT_REST_S if self._at_rest else pressure.look_again_s(self._reading)
