"""How near a worker is to the end of its memory, and who is to go when it gets there. Pure.

How this works. A worker may promise more memory than it has (oversubscription): it holds as long
as functions use less than they declare. What they really use is looked at all the time:

    calm ── 85 % in use ──▶ tight ── 95 % ──▶ critical
         ◀── below 80 % ──        ◀── 90 % ──

*Tight*: no instance is started, and idle ones are asked for, until use is down again. *Critical*:
where nothing idle is left, the instance that is furthest over its fair share is ended, busy or
not, and its client is told why. An instance's *fair share* is of what may be in use before it gets
tight the part that its declared memory is of all that is promised. So it is a choice, the same for
the same figures, and never the kernel's; who stays within the share has nothing to fear.

Templates (SnapStart) are like instances in this, and those that nobody runs from go before anybody
is ended. *Astray* is what is used and no instance or template tells of; a little always is (by what
waits for code). It is laid on nobody: who would not have to go without it stays, and templates go.

What is promised up to the memory that there is can always be kept, as long as no more is used than
is promised: nothing is refused or ended on its account. Stalls (PSI: the share of time in which
something waited for memory) count only where much is in use: any function can make the kernel busy
within its own limit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import IntEnum

from samovar.capacity import Pressure
from samovar.model.instance import InstanceId
from samovar.worker.report import Fault

TIGHT = 0.85
TIGHT_UNTIL = 0.80
CRITICAL = 0.95
CRITICAL_UNTIL = 0.90
"""Shares of the usable memory that is in use."""

STALLED = 0.20
STALLED_FROM = 0.70
"""Memory that is in use so far, and something waiting for it so long, is tight as well."""

SMALLEST_MIB = 128
"""That a function can declare."""

SLACK_MIB = 64
"""Used beside what instances tell: processes that wait for code or make those, and the kernel."""

SELDOM_S = 0.25
OFTEN_S = 0.01
FASTEST_MIB_S = 4096
"""About what processes can fill in a second: looked at often enough to be there before."""


class Level(IntEnum):
    """See the module."""

    CALM = 0
    TIGHT = 1
    CRITICAL = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """What was seen at one moment."""

    used_mib: int
    """By all instances, less what those hold that are just being ended."""
    limit_mib: int
    """What they may use together."""
    promised_mib: int
    spare_mib: int | None = None
    """What the machine has left for them, whatever they may use. None: not known."""
    cpu_stalled: float = 0.0
    memory_stalled: float = 0.0

    @property
    def usable_mib(self) -> int:
        """What they can use together: others on the machine may have taken of it."""
        if self.spare_mib is None:
            return self.limit_mib
        return max(1, min(self.limit_mib, self.used_mib + self.spare_mib))

    @property
    def share(self) -> float:
        """In use ÷ usable."""
        return self.used_mib / self.usable_mib

    def is_kept(self, more_mib: int = 0) -> bool:
        """Whether all that is promised could be used at once, and so much more, and whether it is
        that which is used."""
        is_told = self.used_mib <= self.promised_mib + SLACK_MIB
        return is_told and self.promised_mib + more_mib <= self.usable_mib


def level(before: Level, reading: Reading) -> Level:
    """What it has come to; some hysteresis keeps it from going to and fro."""
    share = reading.share
    stalled = share >= STALLED_FROM and reading.memory_stalled >= STALLED
    if share >= CRITICAL or (before is Level.CRITICAL and share >= CRITICAL_UNTIL):
        return Level.CRITICAL
    if share >= TIGHT or stalled or (before is not Level.CALM and share >= TIGHT_UNTIL):
        return Level.TIGHT
    return Level.CALM


def admits(now: Level, reading: Reading, need_mib: int = SMALLEST_MIB) -> bool:
    """Whether an instance may start that declares so much."""
    return now is Level.CALM or reading.is_kept(need_mib)


def reason(reading: Reading) -> str:
    """Why none may, for whoever is refused."""
    until_mib = int(reading.usable_mib * TIGHT_UNTIL)
    text = (
        f"functions on this machine really use {reading.used_mib} MiB of the "
        f"{reading.usable_mib} MiB that there are for them ({reading.promised_mib} MiB are "
        f"promised): nothing is started until it is below {until_mib} MiB"
    )
    if reading.usable_mib < reading.limit_mib:
        text += " (other programs have taken of the machine's memory)"
    return text


def pressure(now: Level, reading: Reading) -> Pressure:
    """What a worker's status says of it."""
    refuses = not admits(now, reading)
    wanted_mib = 0
    if now is not Level.CALM and not reading.is_kept():
        wanted_mib = max(1, reading.used_mib - int(reading.usable_mib * TIGHT_UNTIL))
    return Pressure(
        memory_used_mib=reading.used_mib,
        memory_usable_mib=reading.usable_mib,
        cpu_stalled=reading.cpu_stalled,
        memory_stalled=reading.memory_stalled,
        reclaim_mib=wanted_mib,
        admits=not refuses,
        reason=reason(reading) if refuses else "",
    )


def look_again_s(reading: Reading) -> float:
    """When to look again, while something runs: before it could be critical."""
    if reading.is_kept():
        return SELDOM_S
    left_mib = reading.usable_mib * CRITICAL - reading.used_mib
    return min(SELDOM_S, max(OFTEN_S, left_mib / FASTEST_MIB_S))


# ---------------------------------------------------------------- who is to go


@dataclass(frozen=True, slots=True)
class Holder:
    """An instance, or a template, and its memory."""

    instance: InstanceId
    used_mib: int
    declared_mib: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """An instance is to end, and why."""

    instance: InstanceId
    fault: Fault


def astray_mib(reading: Reading, holders: Iterable[Holder]) -> int:
    """What is used that nobody tells of, but for what always is."""
    return max(0, reading.used_mib - SLACK_MIB - sum(holder.used_mib for holder in holders))


def sentences(reading: Reading, holders: Collection[Holder]) -> list[Sentence]:
    """Return who is to go so that it is critical no more, or would not be but for what is astray.
    Whoever is furthest over the fair share (in MiB) goes first; nobody goes who is within it."""
    if reading.is_kept():
        return []
    over = [(holder.used_mib - _fair_mib(reading, holder), holder) for holder in holders]
    over.sort(key=lambda entry: (-entry[0], entry[1].instance))
    told_mib = reading.used_mib - astray_mib(reading, holders)
    too_much_mib = told_mib - reading.usable_mib * CRITICAL_UNTIL
    chosen: list[Sentence] = []
    for excess_mib, holder in over:
        if too_much_mib <= 0 or excess_mib <= 0:
            break
        too_much_mib -= holder.used_mib
        chosen.append(Sentence(holder.instance, _explanation(reading, holder)))
    return chosen


def _fair_mib(reading: Reading, holder: Holder) -> int:
    if reading.promised_mib <= reading.usable_mib:
        return holder.declared_mib
    return int(reading.usable_mib * TIGHT * holder.declared_mib / reading.promised_mib)


def _explanation(reading: Reading, holder: Holder) -> Fault:
    return Fault(
        "Runtime.MemoryPressure",
        f"Instance ended to keep others running: functions on this machine used "
        f"{reading.used_mib} MiB of the {reading.usable_mib} MiB that there are for them, and "
        f"nothing idle was left to stop. It used {holder.used_mib} MiB of its "
        f"{holder.declared_mib} MB; its fair share was {_fair_mib(reading, holder)} MiB "
        f"({reading.promised_mib} MiB are promised), and none was further over its own.",
    )
