"""One kind of instances: who forks them, the blanks, and the starts that wait for one.

How this works. A start takes an idle blank at once, or waits in line; each start in line has a
*birth* of its own under way, and takes whichever blank is ready first. So a blank from the pool
and a fork on demand are the same thing at different times. Idle blanks are replaced a little
later, when the instance that took one has had the processor to itself. How many wait is decided
by `demand`; those that are too many end one after the other.

They are forked by a *mother*: a runtime's zygote, or a template. One that dies is replaced, if it
can be, when the next blank is wanted; its idle blanks stay good.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from samovar.sandbox.process import blank, link
from samovar.sandbox.process.cell import Cell, Start
from samovar.sandbox.process.demand import FEW, Demand
from samovar.sandbox.process.event_loop import EventLoop
from samovar.sandbox.process.leisure import Leisure
from samovar.sandbox.process.mother import Mother
from samovar.sandbox.process.resources import ResourcePool

_RETRY_S = 0.02
_MAX_RETRY_S = 5.0
_REVIEW_S = 10.0
_MOST_FAILURES = 3
"""In a row: then starts fail rather than wait for one more mother."""


class Owner(Protocol):
    """Who has asked for a cell."""

    def lost(self, cell: Cell) -> None:
        """It has ended before it was assigned."""

    def keep(self, cell: Cell) -> bool:
        """One that was assigned has ended: whether its owner goes on with what is left of it."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """What an owner of cells asks of the supervisor."""

    assign: Callable[[Cell, Start, str], None]
    """Make an instance of a ready blank; the last argument is its origin."""
    fail: Callable[[Start, str], None]
    """A start will not come to be."""
    expect: Callable[[Cell, Owner], None]
    """A cell begins; `Owner.lost` is to be called if it ends before it is assigned."""
    admit: Callable[[Cell, Owner], None]
    """A cell's pid is known."""
    abandon: Callable[[Cell, Owner], None]
    """A cell will not come to be."""


class Runtime:
    """See the module."""

    def __init__(
        self,
        mother: Mother,
        loop: EventLoop,
        leisure: Leisure,
        resources: ResourcePool,
        keeper: Keeper,
        *,
        blanks: int,
        own_mounts: bool,
    ) -> None:
        self._mother = mother
        mother.attend(self)
        self._own_mounts = own_mounts
        self._loop = loop
        self._leisure = leisure
        self._resources = resources
        self._keeper = keeper
        self._was_up = False
        self._seq = 0
        self._births: dict[int, Cell] = {}
        self._idle: deque[Cell] = deque()
        self._waiting: deque[Start] = deque()
        self._preparing: list[Callable[[str | None], None]] = []
        self._demand = Demand(blanks, time.monotonic())
        self._review_is_due = False
        self._failures = 0
        """In a row."""
        self._closed = False

    # ------------------------------------------------------------ what the supervisor asks

    @property
    def spare(self) -> int:
        """Blanks that wait for a start."""
        return len(self._idle)

    def prepare(self, done: Callable[[str | None], None]) -> None:
        """Bring the mother up and a blank, then call `done` (with the reason, if not).

        The other blanks follow at leisure."""
        self._preparing.append(done)
        self._ensure_mother()
        self._refill()
        self._settle_preparing()

    def take(self, start: Start) -> None:
        """Give a start a blank: now, or as soon as one is ready."""
        self._demand.started(time.monotonic())
        if self._idle:
            self._keeper.assign(self._idle.popleft(), start, "blank")
        else:
            self._waiting.append(start)
            self._ensure_mother()
            self._breed()
        self._refill_soon()

    def cancel(self, start: Start) -> bool:
        """Take a start out of the line; False if it is not in it."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(start)
            return True
        return False

    def lost(self, cell: Cell) -> None:
        """A blank of this runtime has ended."""
        if cell in self._idle:
            self._idle.remove(cell)
        elif self._forget_birth(cell):
            self._failures += 1
            reason = cell.failure or "the blank died"
            if self._waiting:
                self._keeper.fail(self._waiting.popleft(), reason)
            self._settle_preparing(reason)
        self._refill_soon()

    def keep(self, cell: Cell) -> bool:
        """See `Owner`."""
        return False

    def expects_pids(self) -> bool:
        """Whether a blank may have been forked whose pid is not known yet."""
        return any(not cell.pid for cell in self._births.values())

    def close(self) -> list[Cell]:
        """Have no more blanks made; return those that there are."""
        self._closed = True
        self._mother.close()
        cells = [*self._births.values(), *self._idle]
        for cell in self._births.values():
            self._loop.unwatch(cell.control.fileno())
        self._births.clear()
        self._idle.clear()
        return cells

    # ------------------------------------------------------------ the mother

    def on_up(self) -> None:
        """See `Brood`."""
        self._was_up = True
        self._breed()
        self._refill()
        self._settle_preparing()

    def on_mother_end(self, reason: str) -> None:
        """See `Brood`."""
        was_up, self._was_up = self._was_up, False
        self._failures += 1
        for cell in [cell for cell in self._births.values() if not cell.pid]:
            self._forget_birth(cell)
            self._keeper.abandon(cell, self)
        if was_up and self._failures < _MOST_FAILURES:
            if self._waiting:
                self._ensure_mother()
            else:
                self._refill_soon()
            return
        waiting, self._waiting = self._waiting, deque()
        for start in waiting:
            self._keeper.fail(start, reason)
        self._settle_preparing(reason)

    def _ensure_mother(self) -> None:
        if not self._closed:
            self._mother.ensure()

    # ------------------------------------------------------------ births

    def _breed(self) -> None:
        """Have a birth under way for each start in line."""
        while self._mother.up and len(self._births) < len(self._waiting):
            if not self._ask_for_blank():
                return

    def _ask_for_blank(self) -> bool:
        try:
            ours, theirs = link.pair()
            resources = self._resources.take()
        except OSError as error:
            self._failures += 1
            reason = f"no room for an instance: {error}"
            if self._waiting:
                self._keeper.fail(self._waiting.popleft(), reason)
            self._settle_preparing(reason)
            return False
        self._leisure.add(self._resources.fill_one)
        self._seq += 1
        cell = Cell(ours, resources)
        self._births[self._seq] = cell
        self._keeper.expect(cell, self)
        self._loop.watch(ours.fileno(), lambda: self._on_word(cell))
        with theirs:
            try:
                self._mother.fork(self._seq, cell, theirs)
            except (OSError, ValueError) as error:
                cell.failure = f"no room for an instance: {error}"
                self._keeper.abandon(cell, self)
        return True

    def on_fork(self, seq: int, pid: int, failure: str) -> None:
        """See `Brood`."""
        cell = self._births.get(seq)
        if cell is None:
            return
        if pid:
            cell.pid = pid
            self._keeper.admit(cell, self)
            self._born(seq, cell)
        else:
            cell.failure = failure
            self._keeper.abandon(cell, self)

    def _on_word(self, cell: Cell) -> None:
        """The one message of a blank: that it is ready, or why not."""
        try:
            word = cell.control.recv(blank.MAX_MESSAGE_BYTES)
        except ConnectionResetError:
            word = b""
        self._loop.unwatch(cell.control.fileno())
        seq = next(seq for seq, unborn in self._births.items() if unborn is cell)
        if word == blank.READY:
            cell.ready = True
            self._born(seq, cell)
        else:
            cell.failure = self._mother.reason(word) or "the blank died"
            cell.kill()  # and `lost` when it has been reaped

    def _forget_birth(self, cell: Cell) -> bool:
        """Return whether it was one."""
        for seq, unborn in self._births.items():
            if unborn is cell:
                del self._births[seq]
                self._loop.unwatch(cell.control.fileno())
                return True
        return False

    def _born(self, seq: int, cell: Cell) -> None:
        """A blank has come to be when it is ready and its pid is known, in any order."""
        if not (cell.ready and cell.pid) or seq not in self._births:
            return
        try:
            if self._own_mounts:
                cell.open_mounts()
        except OSError as error:  # it has died since
            cell.failure = f"the blank died: {error}"
            cell.kill()
            return
        del self._births[seq]
        self._failures = 0
        if self._waiting:
            self._keeper.assign(cell, self._waiting.popleft(), "fork")
        else:
            self._idle.append(cell)
        self._settle_preparing()
        self._refill_soon()

    # ------------------------------------------------------------ the pool

    def _missing(self) -> int:
        spare_births = max(0, len(self._births) - len(self._waiting))
        return self._demand.wanted(time.monotonic()) - len(self._idle) - spare_births

    def _refill_soon(self) -> None:
        """Bring the pool to its size, one blank after the other; later when births fail."""
        self._review_later()
        if self._closed or self._missing() <= 0:
            return
        if self._failures:
            delay_s = min(_RETRY_S * 2**self._failures, _MAX_RETRY_S)
            self._loop.later(delay_s, lambda: self._leisure.add(self._refill))
        else:
            self._leisure.add(self._refill)

    def _refill(self) -> bool:
        if not self._closed and self._missing() > 0:
            self._ensure_mother()
            if self._mother.up and not self._births and not self._ask_for_blank():
                self._refill_soon()
        return False  # the blank, when it is born, asks for the next one

    def _review_later(self) -> None:
        """Look from time to time whether fewer would do, as long as there are more than a few."""
        if not self._closed and not self._review_is_due and len(self._idle) > FEW:
            self._review_is_due = True
            self._loop.later(_REVIEW_S, self._review)

    def _review(self) -> None:
        self._review_is_due = False
        if not self._closed and self._missing() < 0 and self._idle:
            self._idle.popleft().kill()  # and `lost` when it has been reaped
        self._review_later()

    def _settle_preparing(self, failure: str | None = None) -> None:
        if failure is None and not (self._mother.up and (self._idle or not self._births)):
            return
        preparing, self._preparing = self._preparing, []
        for done in preparing:
            done(failure)
