"""The supervisor: the one process of a server that has privileges.

How this works. It serves one driver over one socket (`link` has the messages). It surveys the
machine, keeps a `Runtime` (zygote and blanks) for each interpreter in use, makes instances of
blanks, reaps all that ends, and gives back what it held. It is single-threaded, for it enters
instances' mount namespaces, and never waits for anything but its event loop.

It ends, leaving nothing, when the driver says so or is gone. If it is itself killed, its children
are sent SIGKILL by the kernel, and the next supervisor of the same data directory clears the rest.
"""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Callable

from samovar.model.isolation import Layer
from samovar.sandbox.process import blank, children, interpreters, resources, strays
from samovar.sandbox.process.cell import Cell, Installer, Start
from samovar.sandbox.process.children import END_UNKNOWN, Children, End
from samovar.sandbox.process.event_loop import EventLoop
from samovar.sandbox.process.layers import Ground
from samovar.sandbox.process.leisure import Leisure
from samovar.sandbox.process.link import Link, Message
from samovar.sandbox.process.runtime import Keeper, Recipe, Runtime

_BURIAL_RETRY_S = 0.002
_MAX_BURIAL_RETRY_S = 0.5
_CLOSE_LIMIT_S = 10.0
_SHARED_PROCESSES = 8192
"""Without a cgroup: what all instances of a user namespace together may have."""


class Supervisor:
    """See the module."""

    def __init__(self, driver: Link, loop: EventLoop, settings: Message, ground: Ground) -> None:
        self._driver = driver
        self._loop = loop
        self._leisure = Leisure(loop)
        self._settings = settings
        self._ground = ground
        self._name = settings["name"]
        self._children = Children()
        self._resources = resources.ResourcePool(self._name, ground, self._children)
        self._installer = Installer()
        self._runtimes: dict[tuple[str, str], Runtime] = {}
        """By interpreter and loop: what differs in the bridge's program alone shares one."""
        self._starts: dict[str, Start] = {}
        self._cells: set[Cell] = set()
        """Those whose processes live."""
        self._burials = 0
        self._closing = False

    def serve(self) -> None:
        """Run until the driver closes."""
        self._loop.watch_children(self._reap)
        self._leisure.add(self._resources.fill_one)
        self._watch_driver()
        self._loop.run()

    # ------------------------------------------------------------ the driver

    def _tell(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        self._driver.send(message, fds)
        self._watch_driver()

    def _watch_driver(self) -> None:
        writable = self._flush if self._driver.backed_up else None
        self._loop.watch(self._driver.fileno(), self._on_driver, writable)

    def _flush(self) -> None:
        self._driver.flush()
        self._watch_driver()

    def _on_driver(self) -> None:
        with contextlib.suppress(BlockingIOError):
            received = self._driver.receive()
            if received is None or received[0]["op"] == "close":
                self._close()
                return
            message, fds = received
            match message["op"]:
                case "start":
                    self._start(message, fds)
                case "settle":
                    self._settle(message["id"], message["vcpus"])
                case "stop":
                    self._stop(message["id"])
                case "prepare":
                    self._prepare(message["runtime"])

    def _prepare(self, name: str) -> None:
        def done(failure: str | None) -> None:
            self._tell({"ev": "prepared", "runtime": name, "failure": failure})

        self._runtime(name).prepare(done)

    def _start(self, message: Message, fds: list[int]) -> None:
        start = Start(
            id=message["id"],
            runtime=message["runtime"],
            code_dir=message["code_dir"],
            layers_dir=message["layers_dir"],
            memory_bytes=message["memory_mib"] << 20,
            tmp_mib=message["tmp_mib"],
            fds=fds,
        )
        self._starts[start.id] = start
        self._leisure.start_has_come()
        self._runtime(start.runtime).take(start)

    def _settle(self, instance_id: str, vcpus: float) -> None:
        start = self._starts.get(instance_id)
        if start and start.cell and start.cell.resources.cgroup and self._has(Layer.CPU):
            with contextlib.suppress(OSError):  # it is just being removed
                start.cell.resources.cgroup.set_cpu(vcpus)

    def _stop(self, instance_id: str) -> None:
        start = self._starts.get(instance_id)
        if start is None:
            return
        start.stopped = True
        if start.cell:
            start.cell.kill()
        elif self._runtime(start.runtime).cancel(start):
            self._fail(start, "stopped before it had started")

    # ------------------------------------------------------------ instances

    def _has(self, layer: Layer) -> bool:
        return layer in self._ground.layers

    def _runtime(self, name: str) -> Runtime:
        engine = self._settings["runtimes"][name], self._settings["loops"][name]
        if engine not in self._runtimes:
            keeper = Keeper(
                assign=self._assign,
                fail=self._fail,
                admit=self._admit,
                expect=self._expect,
                abandon=self._abandon,
                children=self._children,
            )
            recipe = self._recipe(*engine)
            self._runtimes[engine] = Runtime(
                recipe, self._loop, self._leisure, self._resources, keeper
            )
        return self._runtimes[engine]

    def _recipe(self, interpreter: str, loop: str) -> Recipe:
        uids = resources.uid_range(self._name)[: resources.NAMED_UIDS]
        networks = self._ground.networks
        settings = {
            "layers": sorted(self._ground.layers),
            "user_namespace": self._ground.user_namespace,
            "own_proc": self._ground.own_proc,
            "processes_limit": self._processes_limit(),
            "nameservers": networks.nameservers if networks else None,
            "uids": [uids.start, uids.stop] if self._has(Layer.USER) else [0, 1],
            "prefix": interpreters.prefix(interpreter),
            "loop_module": loop,
            "programs": self._settings["programs"],
            "shown": self._settings["shown"].get(interpreter, {}),
            "loop_path": self._settings["loop_path"],
        }
        return Recipe(
            interpreter=interpreter,
            source_root=self._settings["source_root"],
            settings=settings,
            blanks=self._settings["blanks"],
            own_mounts=self._has(Layer.MOUNTS),
        )

    def _processes_limit(self) -> int | None:
        """RLIMIT_NPROC counts a user's processes: of use where that is not the host's user."""
        if self._has(Layer.USER):
            return blank.PROCESSES
        return _SHARED_PROCESSES if self._ground.user_namespace else None

    def _assign(self, cell: Cell, start: Start, origin: str) -> None:
        cgroup = cell.resources.cgroup
        meters = cgroup.meters if cgroup else {}
        data_bytes = None
        start.cell = cell
        cell.start = start
        try:
            if cgroup and self._has(Layer.MEMORY):
                cgroup.set_memory(start.memory_bytes)
            else:
                data_bytes = start.memory_bytes
            if self._has(Layer.MOUNTS):
                self._installer.install(cell, start)
                readable = []
            else:
                prefix = interpreters.prefix(self._settings["runtimes"][start.runtime])
                reads = self._settings["reads"].get(start.runtime, [])
                readable = [start.code_dir, prefix, *reads]
                if start.layers_dir:
                    readable.append(start.layers_dir)
            # Told before it can speak: whoever hears from an instance knows that it has started.
            told = {"ev": "started", "id": start.id, "origin": origin, "pid": cell.pid}
            self._tell(told | {"meters": list(meters)}, tuple(meters.values()))
            if cgroup:
                cgroup.hand_over("peak")
            cell.assign(start, data_bytes=data_bytes, readable=readable)
        except OSError as error:
            cell.failure = f"the instance could not be set up: {error}"
            start.close_fds()
            cell.kill()

    def _fail(self, start: Start, reason: str) -> None:
        """A start that never got a cell."""
        start.close_fds()
        self._end(start, {"failure": reason})

    def _end(self, start: Start, how: Message) -> None:
        del self._starts[start.id]
        self._tell({"ev": "exit", "id": start.id} | how)

    # ------------------------------------------------------------ ends

    def _expect(self, cell: Cell, runtime: Runtime) -> None:
        """A cell begins: learn when all of it has ended."""
        self._cells.add(cell)
        if cell.resources.reaper:
            cell.resources.reaper.on_end = functools.partial(self._on_end, cell, runtime)

    def _admit(self, cell: Cell, runtime: Runtime) -> None:
        self._children.adopt(cell.pid, functools.partial(self._on_process_end, cell, runtime))
        self._forget_strangers()

    def _reap(self) -> None:
        self._children.reap()
        self._forget_strangers()
        self._finish_closing()

    def _forget_strangers(self) -> None:
        if not any(runtime.expects_pids() for runtime in self._runtimes.values()):
            self._children.forget_strangers()

    def _on_process_end(self, cell: Cell, runtime: Runtime, end: End) -> None:
        cell.end = cell.end or end
        if cell.resources.reaper:
            cell.kill()  # what it has started ends with its namespace; then comes `_on_end`
        else:
            self._on_end(cell, runtime, end)

    def _on_end(self, cell: Cell, runtime: Runtime, end: End) -> None:
        """No process of a cell is left (or, without a pid namespace, not its first one)."""
        cell.end = cell.end or end
        cell.resources.reaper = None
        self._cells.discard(cell)
        start = cell.start
        if start is None:
            runtime.lost(cell)
            self._bury(cell)
            return
        how = self._cause(cell, start)
        self._bury(cell, lambda: self._end(start, how))

    def _abandon(self, cell: Cell, runtime: Runtime) -> None:
        """A cell that will not come to be; its process, if there is one, ends for lack of us."""
        if cell.resources.reaper:
            cell.kill()
        else:
            self._on_end(cell, runtime, END_UNKNOWN)

    def _cause(self, cell: Cell, start: Start) -> Message:
        if cell.failure:
            return {"failure": cell.failure}
        assert cell.end
        code, peak_bytes = cell.end.code, cell.peak_memory_bytes()
        if code >= 0:
            return {"code": code, "peak_bytes": peak_bytes}
        cgroup = cell.resources.cgroup
        out_of_memory = False
        if cgroup and code == -signal.SIGKILL and not start.stopped:
            with contextlib.suppress(OSError, ValueError):
                out_of_memory = cgroup.oom_killed()
        return {"signal": -code, "out_of_memory": out_of_memory, "peak_bytes": peak_bytes}

    def _bury(self, cell: Cell, then: Callable[[], None] = lambda: None) -> None:
        """Give back what a cell held as soon as nothing of it is left."""
        cell.close()
        self._burials += 1
        self._try_to_bury(cell, then, _BURIAL_RETRY_S)

    def _try_to_bury(self, cell: Cell, then: Callable[[], None], retry_s: float) -> None:
        if not self._nothing_left(cell) or not self._resources.give_back(cell.resources):
            next_s = min(2 * retry_s, _MAX_BURIAL_RETRY_S)
            self._loop.later(retry_s, lambda: self._try_to_bury(cell, then, next_s))
            return
        self._burials -= 1
        then()
        self._finish_closing()

    def _nothing_left(self, cell: Cell) -> bool:
        """Kill what outlives a first process where no pid namespace does that."""
        if self._has(Layer.PROCESSES) or not cell.pid:
            return True
        if cell.resources.cgroup:
            cell.resources.cgroup.kill()
            return True  # its removal will show
        return not strays.kill(cell.resources.mark)

    # ------------------------------------------------------------ the end

    def _close(self) -> None:
        """Kill everything; `_finish_closing` ends when it is gone."""
        self._loop.unwatch(self._driver.fileno())
        self._closing = True
        self._leisure.close()
        for runtime in self._runtimes.values():
            for cell in runtime.close():
                if cell.pid:
                    cell.kill()
                else:
                    self._abandon(cell, runtime)
        self._resources.close()
        for start in list(self._starts.values()):
            self._stop(start.id)
        self._loop.later(_CLOSE_LIMIT_S, self._loop.stop)
        self._finish_closing()

    def _finish_closing(self) -> None:
        if not self._closing or self._children.known or self._burials or self._starts:
            return
        if self._children.none_left():
            self._loop.stop()
            return
        for pid in strays.children():  # forked by a zygote that had no time to tell of it
            children.kill(pid)
