"""What cells are forked from: a runtime's zygote, or a template.

How this works. A *mother* forks a cell for each request, one after the other, and tells of each to
its *brood* (`runtime.Runtime`), which knows what cells are needed, who waits for one, and what is
done about a mother that ends. `template.Template` is the other kind.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from samovar.sandbox.process import children, link, zygote
from samovar.sandbox.process.cell import Cell
from samovar.sandbox.process.children import Children
from samovar.sandbox.process.event_loop import EventLoop
from samovar.sandbox.process.link import Link, Message

_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


class Brood(Protocol):
    """Who is told what becomes of a mother and of the cells that were asked of her."""

    def on_up(self) -> None:
        """Cells can be asked for."""

    def on_fork(self, seq: int, pid: int, failure: str) -> None:
        """One has been forked, or (with no pid) could not be."""

    def on_mother_end(self, reason: str) -> None:
        """She is no more, and with her whatever was asked and not told of."""


class Mother(Protocol):
    """See the module."""

    up: bool
    """Whether cells can be asked for."""

    def attend(self, brood: Brood) -> None:
        """Tell this one from now on."""

    def ensure(self) -> None:
        """Come up, if she is not up or coming: `on_up` or `on_mother_end` follows."""

    def fork(self, seq: int, cell: Cell, theirs: socket.socket) -> None:
        """Fork a cell, whose end of its control socket is `theirs`: `on_fork` follows. Raises
        `OSError` or `ValueError` where that cannot even be asked for."""

    def reason(self, word: bytes) -> str:
        """What a cell that could not be isolated has said of that; empty if nothing."""

    def close(self) -> None:
        """End. Nothing more is told."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make a runtime's zygote."""

    interpreter: str
    source_root: str
    """The directory that the `samovar` package lies in."""
    settings: Mapping[str, object]
    """The zygote's first message."""


OnHolder = Callable[[int, str], None]
"""Gets a holder's pid, or (with 0) why there is none."""


class ZygoteMother:
    """The zygote of one runtime: started when it is needed, again when it has died."""

    up = False

    def __init__(self, recipe: Recipe, loop: EventLoop, known: Children) -> None:
        self._recipe = recipe
        self._loop = loop
        self._children = known
        self._link: Link | None = None
        self._pid = 0
        self._brood: Brood | None = None
        self._holders: dict[int, tuple[Message, list[int], OnHolder]] = {}
        """Those that were asked for, by their numbers, which are below 0."""
        self._asked: set[int] = set()
        """Of them, those that the zygote knows of."""

    def attend(self, brood: Brood) -> None:
        """See `Mother`."""
        self._brood = brood

    def ensure(self) -> None:
        """See `Mother`."""
        assert self._brood
        if self._link:
            return
        try:
            ours, theirs = link.pair()
            with theirs:
                self._pid = self._spawn(theirs.fileno())
        except OSError as error:
            self._on_end(f"its zygote cannot start: {error}")
            return
        self._children.adopt(self._pid, lambda _: None)  # its socket tells
        self._link = Link(ours)
        self._link.send(dict(self._recipe.settings))
        self._loop.watch(self._link.fileno(), self._on_readable, None)

    def fork(self, seq: int, cell: Cell, theirs: socket.socket) -> None:
        """See `Mother`."""
        self._send(seq, *request(cell, theirs.fileno()))

    def reason(self, word: bytes) -> str:
        """See `Mother`."""
        return word.decode(errors="replace")

    def hold(self, message: Message, fds: list[int], then: OnHolder) -> None:
        """Fork a holder (`holder`), as soon as possible. The descriptors are closed then."""
        seq = min([0, *self._holders]) - 1
        self._holders[seq] = message, fds, then
        self.ensure()
        self._ask_for_holders()

    @property
    def expects_holders(self) -> bool:
        """Whether one may have been forked whose pid is not known yet."""
        return bool(self._holders)

    def close(self) -> None:
        """See `Mother`."""
        if self._link:
            self._loop.unwatch(self._link.fileno())
            self._link.close()
            self._link = None
            self.up = False
            children.kill(self._pid)

    def _send(self, seq: int, message: Message, fds: list[int], *, hold: bool = False) -> None:
        assert self._link
        self._link.send({"seq": seq, "hold": hold, **message}, fds)

    def _ask_for_holders(self) -> None:
        for seq, (message, fds, _) in self._holders.items():
            if self.up and seq not in self._asked:
                self._asked.add(seq)
                self._send(seq, message, fds, hold=True)

    def _tell_of_holder(self, seq: int, pid: int, failure: str) -> None:
        self._asked.discard(seq)
        _, fds, then = self._holders.pop(seq)
        for fd in fds:
            os.close(fd)
        then(pid, failure)

    def _spawn(self, control_fd: int) -> int:
        """Start the interpreter, isolated from environment, user and site directories."""
        script = zygote.BOOTSTRAP.format(preload=zygote.PRELOAD, source=self._recipe.source_root)
        interpreter = self._recipe.interpreter
        return os.posix_spawn(
            interpreter,
            [interpreter, "-I", "-S", "-c", script],
            _ENVIRONMENT,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, control_fd, 3),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 0, 1),
            ],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
        )

    def _on_readable(self) -> None:
        assert self._link
        assert self._brood
        try:
            received = self._link.receive()
        except BlockingIOError:
            self._link.flush()
            return
        if received is None:
            self._on_end("its zygote ended")
            return
        message = received[0]
        if "up" in message:
            self.up = True
            self._brood.on_up()
            self._ask_for_holders()
        elif "seq" not in message:
            self._on_end(str(message["failed"]))
        else:
            seq, pid, failure = message["seq"], message.get("pid", 0), message.get("failed", "")
            if seq < 0:
                self._tell_of_holder(seq, pid, failure)
            else:
                self._brood.on_fork(seq, pid, failure)

    def _on_end(self, reason: str) -> None:
        assert self._brood
        for seq in list(self._holders):
            self._tell_of_holder(seq, 0, reason)
        self.close()
        self._brood.on_mother_end(reason)


def request(cell: Cell, *control_fds: int) -> tuple[Message, list[int]]:
    """What a zygote needs to know to fork a cell, and the descriptors."""
    resources = cell.resources
    attach_fds = resources.attach_fds()
    network_fds = [resources.network.fd] if resources.network else []
    pids_fds = [resources.reaper.fd] if resources.reaper else []
    message: Message = {"uid": resources.uid, "mark": resources.mark}
    message |= {"cgroups": len(attach_fds), "network": bool(network_fds)}
    return message, [*control_fds, *attach_fds, *network_fds, *pids_fds]
