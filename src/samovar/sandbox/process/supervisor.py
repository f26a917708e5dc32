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
from samovar.sandbox.process import children, resources, strays
from samovar.sandbox.process.cell import Cell, Installer, Start
from samovar.sandbox.process.children import END_UNKNOWN, Children, End
from samovar.sandbox.process.engines import Engines
from samovar.sandbox.process.event_loop import EventLoop
from samovar.sandbox.process.isolating import Place
from samovar.sandbox.process.layers import Ground
from samovar.sandbox.process.leisure import Leisure
from samovar.sandbox.process.link import Link, Message
from samovar.sandbox.process.runtime import Keeper, Owner, Runtime
from samovar.sandbox.process.template import Template

_BURIAL_RETRY_S = 0.002
_MAX_BURIAL_RETRY_S = 0.5
_CLOSE_LIMIT_S = 10.0
_SPARE_FORKS = 1
"""Of each template, besides those that are wanted."""


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
        self._keeper = Keeper(
            assign=self._assign,
            fail=self._fail,
            admit=self._admit,
            expect=self._expect,
            abandon=self._abandon,
        )
        self._engines = Engines(
            settings, ground, loop, self._leisure, self._resources, self._keeper, self._children
        )
        self._templates: dict[str, tuple[Template, Runtime]] = {}
        """By the ids of their starts, with their forks."""
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
                case "freeze":
                    self._freeze(message["id"])
                case "count":
                    waiting = sum(engine.runtime.spare for engine in self._engines)
                    self._tell({"ev": "counted", "blanks": waiting})
                case "prepare":
                    self._prepare(message["runtime"])

    def _prepare(self, name: str) -> None:
        def done(failure: str | None) -> None:
            self._tell({"ev": "prepared", "runtime": name, "failure": failure})

        self._engines.of(name).runtime.prepare(done)

    def _start(self, message: Message, fds: list[int]) -> None:
        start = Start(
            id=message["id"],
            runtime=message["runtime"],
            code_dir=message["code_dir"],
            layers_dir=message["layers_dir"],
            memory_bytes=message["memory_mib"] << 20,
            tmp_mib=message["tmp_mib"],
            fds=fds,
            template=message["template"],
        )
        self._starts[start.id] = start
        self._leisure.start_has_come()
        if message["is_template"]:
            self._begin_template(start)
        elif pool := self._pool_of(start):
            pool.take(start)
        else:
            self._fail(start, "its template has ended")

    def _pool_of(self, start: Start) -> Runtime | None:
        """Who makes the instance of a start; None: its template is no more."""
        if start.template is None:
            return self._engines.of(start.runtime).runtime
        found = self._templates.get(start.template)
        return found[1] if found else None

    def _begin_template(self, start: Start) -> None:
        data_bytes = None if self._has(Layer.MEMORY) else start.memory_bytes
        readable = self._engines.readable(start)
        template = Template(
            start,
            self._engines.isolation,
            functools.partial(Place, data_bytes=data_bytes, readable=readable),
            self._engines.of(start.runtime).zygote,
            self._loop,
            self._resources,
            self._keeper,
            self._children,
            self._on_template_end,
        )
        forks = Runtime(
            template,
            self._loop,
            self._leisure,
            self._resources,
            self._keeper,
            blanks=_SPARE_FORKS if self._settings["blanks"] else 0,
            own_mounts=self._has(Layer.MOUNTS),
        )
        self._templates[start.id] = template, forks
        template.begin()

    def _freeze(self, instance_id: str) -> None:
        def done(failure: str | None) -> None:
            self._tell({"ev": "frozen", "id": instance_id, "failure": failure})

        if instance_id in self._templates:
            self._templates[instance_id][0].freeze(done)
        else:
            done("it has ended")

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
        pool = self._pool_of(start)
        if instance_id in self._templates:
            self._templates[instance_id][0].stop()
        elif start.cell:
            start.cell.kill()
        elif pool is None or pool.cancel(start):
            self._fail(start, "stopped before it had started")

    def _on_template_end(self, template: Template, end: End) -> None:
        """A frozen one has ended: its holder has been reaped."""
        cell = template.cell
        assert cell
        _, forks = self._templates.pop(template.start.id)
        forks.on_mother_end("its template has ended")
        self._end_pool(forks)
        cell.end = end
        how = self._cause(cell, template.start)
        self._bury(cell, lambda: self._end(template.start, how))

    def _end_pool(self, pool: Runtime) -> None:
        for cell in pool.close():
            if cell.pid:
                cell.kill()
            else:
                self._abandon(cell, pool)

    # ------------------------------------------------------------ instances

    def _has(self, layer: Layer) -> bool:
        return layer in self._ground.layers

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
            readable = [] if self._has(Layer.MOUNTS) else self._engines.readable(start)
            if start.template:
                origin = "template"
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
        if start.id in self._templates:
            self._end_pool(self._templates.pop(start.id)[1])
        self._tell({"ev": "exit", "id": start.id} | how)

    # ------------------------------------------------------------ ends

    def _expect(self, cell: Cell, owner: Owner) -> None:
        """A cell begins: learn when all of it has ended."""
        self._cells.add(cell)
        if cell.resources.reaper:
            cell.resources.reaper.on_end = functools.partial(self._on_end, cell, owner)

    def _admit(self, cell: Cell, owner: Owner) -> None:
        self._children.adopt(cell.pid, functools.partial(self._on_process_end, cell, owner))
        self._forget_strangers()

    def _reap(self) -> None:
        self._children.reap()
        self._forget_strangers()
        self._finish_closing()

    def _forget_strangers(self) -> None:
        pools = [engine.runtime for engine in self._engines]
        pools += [forks for _, forks in self._templates.values()]
        holders = any(engine.zygote.expects_holders for engine in self._engines)
        if not holders and not any(pool.expects_pids() for pool in pools):
            self._children.forget_strangers()

    def _on_process_end(self, cell: Cell, owner: Owner, end: End) -> None:
        cell.end = cell.end or end
        if cell.resources.reaper:
            cell.kill()  # what it has started ends with its namespace; then comes `_on_end`
        else:
            self._on_end(cell, owner, end)

    def _on_end(self, cell: Cell, owner: Owner, end: End) -> None:
        """No process of a cell is left (or, without a pid namespace, not its first one)."""
        cell.end = cell.end or end
        cell.resources.reaper = None
        self._cells.discard(cell)
        start = cell.start
        if start is None:
            owner.lost(cell)
            self._bury(cell)
            return
        if owner.keep(cell):
            return
        how = self._cause(cell, start)
        self._bury(cell, lambda: self._end(start, how))

    def _abandon(self, cell: Cell, owner: Owner) -> None:
        """A cell that will not come to be; its process, if there is one, ends for lack of us."""
        if cell.resources.reaper:
            cell.kill()
        else:
            self._on_end(cell, owner, END_UNKNOWN)

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
        for engine in self._engines:
            self._end_pool(engine.runtime)
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
