"""A template: an instance that has run its init, and of which others are forks.

How this works. Two processes share one memory (`holder`): the *instance*, which is isolated like
any other and runs the function's init, and the *holder*, which has privileges and is kept from
executing anything. When the init is over the template is *frozen*:

    1. The instance is stopped, and what it would go on with is read: its registers.
    2. It is killed, with all that it may have started. From now on nobody but the holder has this
       memory, and nothing in it runs any more.
    3. Where the holder has kept room for it, memory is mapped anew (`injection`), the *runner* is
       written there, and the holder is let go. It makes the system calls that it is sent, and
       nothing else.

For each fork it is sent a list of calls (`isolating`): clone, then in the fork those by which any
instance is isolated, and last rt_sigreturn(2), which goes on with the registers of the instance
that was. So user code runs with privileges nowhere, a fork has every layer that its template had,
with a user, namespaces and limits of its own, and there are no user namespaces in it.

What a function could do to its memory before it was frozen is in vain: the holder's signal handlers
are its own and blocked, its restartable sequences are gone (rseq(2) would have it jump), and what
it has put in the runner's place is mapped over. What it has written elsewhere, forks find; that is
what they are for.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
from collections import deque
from collections.abc import Callable

from samovar.sandbox.process import blank, children, isolating, link, mother, ptrace
from samovar.sandbox.process.call_list import FAILURE, RESULT, CallList
from samovar.sandbox.process.cell import Cell, Start
from samovar.sandbox.process.children import Children, End
from samovar.sandbox.process.event_loop import EventLoop
from samovar.sandbox.process.isolating import Fds, Place
from samovar.sandbox.process.mother import Brood, ZygoteMother
from samovar.sandbox.process.resources import ResourcePool
from samovar.sandbox.process.runner_start import RunnerStart
from samovar.sandbox.process.runtime import Keeper

_FREEZE_LIMIT_S = 10.0
_FORKS_BYTES = 512 << 20
"""What a holder may have besides the template's memory: page tables and mappings of forks count as
memory of who made them. An honest fork has less than a MiB; what the function can make of them by
a page here and a page there is to end its template before it is other functions' memory."""

Done = Callable[[str | None], None]
"""Called with why not, or with None."""


class Template:
    """Implements `mother.Mother`, and `runtime.Owner` of its instance."""

    up = False

    def __init__(
        self,
        start: Start,
        isolation: blank.Isolation,
        place: Callable[[int, int], Place],
        zygote: ZygoteMother,
        loop: EventLoop,
        resources: ResourcePool,
        keeper: Keeper,
        known: Children,
        ended: Callable[[Template, End], None],
    ) -> None:
        """`place` gets the addresses of the runner's space and of a thread's id; `ended` is called
        at the end of one that was frozen."""
        self.start = start
        self._isolation = isolation
        self._place_of = place
        self._place: Place | None = None
        self._forge_fd = 0
        """The holder's number for its end of `_forge`."""
        self._zygote = zygote
        self._loop = loop
        self._resources = resources
        self._keeper = keeper
        self._children = known
        self._ended = ended
        self._brood: Brood | None = None
        self.cell: Cell | None = None
        """The instance; when it has gone, what the holder needs of its resources."""
        self._forge: socket.socket | None = None
        self._holder_pid = 0
        self._thread: ptrace.Thread | None = None
        self._freezing: Done | None = None
        self._given_up = False
        self._frozen = False
        """Whether the instance has ended, and the holder alone is left."""
        self._queue: deque[tuple[int, bytes, list[int]]] = deque()
        """Forks that are wanted; the first of them is under way."""
        self._newest: CallList | None = None

    # ------------------------------------------------------------ its instance

    def begin(self) -> None:
        """Make the instance, which is assigned to the start."""
        try:
            ours, theirs = link.pair()
            self._forge, their_forge = link.pair()
            self.cell = Cell(ours, self._resources.take())
        except OSError as error:
            self._keeper.fail(self.start, f"no room for a template: {error}")
            return
        self._keeper.expect(self.cell, self)
        self._loop.watch(self.cell.control.fileno(), self._on_word)
        self._loop.watch(self._forge.fileno(), self._on_forge)
        with theirs, their_forge:
            message, fds = mother.request(self.cell, theirs.fileno(), their_forge.fileno())
            try:
                self._zygote.hold(message, link.duplicates(fds), self._on_holder)
            except OSError as error:
                self._give_up(f"no room for a template: {error}")

    def lost(self, cell: Cell) -> None:
        """See `Owner`."""
        self._forget_control()
        self._end_holder()
        self._keeper.fail(self.start, cell.failure or "its template died")

    def keep(self, cell: Cell) -> bool:
        """See `Owner`."""
        if self._thread is None or self.start.stopped:
            self._tell_frozen("it has ended")
            self._end_holder()
            return False
        self._frozen = True
        self._launch()
        return True

    def stop(self) -> None:
        """End it. Its forks live on."""
        if self._frozen:
            self.close()
        elif self.cell is None or not self.cell.pid:
            self._give_up("stopped before it had started")
        else:
            self.cell.kill()

    def _on_holder(self, pid: int, failure: str) -> None:
        if not pid:
            return self._give_up(failure)
        if self._given_up:
            self._children.adopt(pid, lambda _: None)
            return children.kill(pid)
        self._holder_pid = pid
        self._children.adopt(pid, self._on_holder_end)
        self._children.trace(pid, self._on_holder_stop)
        try:
            ptrace.seize(pid, hold_at_clone=True)
        except OSError as error:
            return self._give_up(f"it cannot be traced: {error}")
        return self._let_holder_clone()

    def _let_holder_clone(self) -> None:
        """It may, once it is traced and has told of itself: it must not come back from that."""
        if self._holder_pid and self._place and self._forge:
            self._forge.send(b".")

    def _on_holder_stop(self, status: int) -> None:
        """It stops where it makes the instance, and stays there."""
        pid = self._holder_pid
        try:
            if not ptrace.is_clone_stop(status):
                ptrace.resume(pid)
                return
            assert self.cell
            self.cell.pid = ptrace.cloned(pid)
            self._keeper.admit(self.cell, self)
            if ptrace.has_rseq(pid):
                self._give_up("its thread has restartable sequences")
                return
            self._children.trace(self.cell.pid, functools.partial(self._let_go, self.cell.pid))
        except OSError as error:
            self._give_up(f"it cannot be traced: {error}")

    def _let_go(self, pid: int, _: int) -> None:
        """The instance, which begins stopped, is to run like any other."""
        self._children.trace(pid, lambda _: None)
        with contextlib.suppress(OSError):  # it has died
            ptrace.release(pid)

    def _on_word(self) -> None:
        """The one message of the instance: that it is isolated, or why not."""
        assert self.cell
        try:
            word = self.cell.control.recv(blank.MAX_MESSAGE_BYTES)
        except ConnectionResetError:
            word = b""
        self._forget_control()
        if word != blank.READY:
            self._give_up(word.decode(errors="replace") or "its template died")
            return
        try:
            if self._isolation.mounts:
                self.cell.open_mounts()
        except OSError as error:
            self._give_up(f"its template died: {error}")
            return
        self._keeper.assign(self.cell, self.start, "fork")

    def _forget_control(self) -> None:
        if self.cell and self.cell.control.fileno() >= 0:
            self._loop.unwatch(self.cell.control.fileno())

    def _give_up(self, reason: str) -> None:
        """It will not come to be: `lost` follows."""
        self._end_holder()
        if self.cell and not self._given_up:
            self._given_up = True
            self.cell.failure = self.cell.failure or reason
            if self.cell.pid:
                self.cell.kill()
            else:
                self._keeper.abandon(self.cell, self)

    def _end_holder(self) -> None:
        if self._holder_pid:
            children.kill(self._holder_pid)
        if self._forge and self._forge.fileno() >= 0:
            self._loop.unwatch(self._forge.fileno())
            self._forge.close()

    # ------------------------------------------------------------ freezing

    def freeze(self, done: Done) -> None:
        """Init is over: from now on it is what forks are made of."""
        if self._freezing or self._frozen or not self.cell or not self.cell.pid:
            done("it is not running")
            return
        reason = self._unfit(self.cell)
        if reason:
            done(reason)
            return
        self._freezing = done
        pid = self.cell.pid
        self._children.trace(pid, lambda _: self._on_instance_stop(pid))
        try:
            ptrace.seize(pid)
            ptrace.interrupt(pid)
        except OSError as error:
            self._tell_frozen(f"it cannot be traced: {error}")
            return
        self._loop.later(_FREEZE_LIMIT_S, self._expire)

    def _unfit(self, cell: Cell) -> str | None:
        """Why no fork of it could be like it, for honest functions: nothing else depends on it."""
        try:
            threads = len(os.listdir(f"/proc/{cell.pid}/task"))
        except OSError as error:
            return f"it cannot be looked at: {error.strerror}"
        others = cell.count_others(self._holder_pid)
        if threads > 1:
            return f"{threads - 1} threads of the function were still running after its init"
        if others:
            return f"{others} processes of the function were still running after its init"
        return None

    def _on_instance_stop(self, pid: int) -> None:
        assert self.cell
        if self._thread:
            return
        try:
            self._thread = ptrace.thread(pid)
        except OSError as error:
            self._tell_frozen(f"it cannot be read: {error}")
        self.cell.kill()  # then comes `keep`

    def _launch(self) -> None:
        """The instance has ended: let the holder go, as the runner."""
        assert self.cell
        assert self._place
        assert self._thread
        try:
            if self.cell.resources.cgroup:
                self.cell.resources.cgroup.set_memory(self.start.memory_bytes + _FORKS_BYTES)
            RunnerStart(
                self._holder_pid, self._place.space, self._forge_fd, self._thread, self._refuse
            ).begin(self._children)
        except OSError as error:
            self._refuse(str(error))

    def _refuse(self, reason: str) -> None:
        self._tell_frozen(reason)
        children.kill(self._holder_pid)

    def _expire(self) -> None:
        if self._freezing:
            self._tell_frozen(f"it was not frozen within {_FREEZE_LIMIT_S:.0f} s")
            self.stop()

    def _tell_frozen(self, failure: str | None) -> None:
        done, self._freezing = self._freezing, None
        if done:
            done(failure)

    # ------------------------------------------------------------ the holder's word

    def _on_forge(self) -> None:
        assert self._forge
        try:
            word = self._forge.recv(blank.MAX_MESSAGE_BYTES)
        except ConnectionResetError:
            word = b""
        if not word:
            self._loop.unwatch(self._forge.fileno())  # its end is reaped
        elif self._place is None:
            told = json.loads(word)
            self._forge_fd = told["forge"]
            self._place = self._place_of(told["space"], told["thread_id_address"])
            self._let_holder_clone()
        elif word == isolating.UP and self._frozen:
            self.up = True
            self._tell_frozen(None)
            if self._brood:
                self._brood.on_up()
        elif self._queue and self._brood:
            self._on_fork(word)

    def _on_fork(self, word: bytes) -> None:
        assert self._brood
        seq, _, fds = self._queue.popleft()
        link.close_all(fds)
        if len(word) == RESULT.size:
            self._brood.on_fork(seq, RESULT.unpack(word)[0], "")
        else:
            self._brood.on_fork(seq, 0, f"its template cannot fork: {self.reason(word)}")
        self._send_next()

    def _on_holder_end(self, end: End) -> None:
        self._holder_pid = 0
        self.up = False
        while self._queue:
            link.close_all(self._queue.popleft()[2])
        if self._frozen:
            self._end_holder()
            self._tell_frozen("its memory cannot be forked")
            self._ended(self, end)
        elif self.cell and self.cell.pid:
            self.cell.kill()
        else:
            self._give_up("its template died")

    # ------------------------------------------------------------ Mother

    def attend(self, brood: Brood) -> None:
        """See `Mother`."""
        self._brood = brood

    def ensure(self) -> None:
        """See `Mother`: there is no other one of it."""
        assert self._brood
        if not self.up and not self._freezing:
            self._brood.on_mother_end("its template has ended")

    def fork(self, seq: int, cell: Cell, theirs: socket.socket) -> None:
        """See `Mother`."""
        assert self._place
        held = cell.resources
        message, fds = mother.request(cell, theirs.fileno())
        places = Fds.of(
            message["cgroups"], network=message["network"], reaper=held.reaper is not None
        )
        calls = isolating.fork(self._isolation, self._place, places, held.uid, held.mark)
        text = calls.text()
        self._newest = calls
        self._queue.append((seq, text, link.duplicates(fds)))
        if len(self._queue) == 1:
            self._send_next()

    def reason(self, word: bytes) -> str:
        """See `Mother`. All lists of a template have the same calls."""
        if len(word) == FAILURE.size and self._newest:
            return self._newest.reason(word)
        return ""

    def _send_next(self) -> None:
        if self._queue and self._forge:
            _, text, fds = self._queue[0]
            with contextlib.suppress(OSError):  # it has ended, which is being told
                socket.send_fds(self._forge, [text], fds)

    def close(self) -> None:
        """See `Mother`."""
        self.up = False
        if self._holder_pid:
            children.kill(self._holder_pid)
