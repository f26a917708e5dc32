"""The driver of the process sandbox: what the server holds of it.

How this works. All that needs privileges is in another process, the supervisor, which the driver
starts and speaks to over one socket (`link` has the messages). `start` makes the instance's channel
and output pipe, sends the far ends, and returns: the worker writes INIT at once, while supervisor
and instance are still at it. The supervisor tells when an instance has started and ended.

A supervisor that dies takes its instances along; the driver then says so of each of them, starts
another one, and prepares the same runtimes. A driver that dies (the server was killed) is noticed
by the supervisor, which removes everything and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import samovar
from samovar.guest import wire
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.isolation import Isolation, Layer
from samovar.ports import Exit, SandboxSpec
from samovar.sandbox.process import link, runtimes
from samovar.sandbox.process.blank_count import BlankCount
from samovar.sandbox.process.code_copies import CodeCopies, CodeInPlace
from samovar.sandbox.process.instance import ProcessInstance
from samovar.sandbox.process.launch import launch, opening
from samovar.sandbox.process.link import Link, Message
from samovar.sandbox.process.readings import Readings
from samovar.sandbox.process.resources import server_name
from samovar.sandbox.process.rootfs import LAYERS_ROOT, TASK_ROOT

DEFAULT_SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
DEFAULT_LOOP = "samovar.guest.python_loop"

_OPEN_LIMIT_S = 30.0
_CLOSE_LIMIT_S = 15.0
_MAX_RESTARTS = 3
"""In a row, without an instance started in between."""


class ProcessSandbox:
    """Implements `samovar.ports.Sandbox`.

    `mode`: `process` (every layer, or refuse), `auto` (what the machine allows) or `none`.
    `memory_mib`: where all instances together are held up by the kernel; 0: nowhere.
    `blanks`: isolated processes that wait for code, for each runtime in use; 0: fork on demand.
    `disabled_layers`: layers to leave out, so that tests can show what each is good for.
    `search_path`: where to look for interpreters, like PATH.
    `loop_module`: a module with `serve(channel)` for Python's runtimes, found below `loop_path`
    (default: our package).
    """

    isolation: Isolation
    runtimes: Mapping[str, str]
    snapshots: str | None

    def __init__(
        self,
        data_dir: Path,
        *,
        mode: str = "auto",
        memory_mib: int = 0,
        blanks: int = 8,
        disabled_layers: frozenset[Layer] = frozenset(),
        search_path: str = DEFAULT_SEARCH_PATH,
        loop_module: str = DEFAULT_LOOP,
        loop_path: Path | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._mode = str(mode)
        self._memory_mib = memory_mib
        self._blanks = blanks
        self._disabled = disabled_layers
        self._search_path = search_path
        self._loop_module = loop_module
        self._source_root = Path(samovar.__file__).resolve().parent.parent
        self._loop_path = loop_path or self._source_root
        self._link: Link | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._opened: asyncio.Future[Message] | None = None
        self._offers: Mapping[str, runtimes.Offer] = {}
        self._instances: dict[str, ProcessInstance] = {}
        self._readings = Readings({})
        self._prepared: dict[str, asyncio.Future[None]] = {}
        self._files: CodeCopies | CodeInPlace = CodeInPlace()
        self._unusable: dict[str, str] = {}
        self._restart: asyncio.Task[None] | None = None
        self._restarts = 0
        self._closing = False
        self._blank_count = BlankCount(self._send)
        self.blanks = self._blank_count.ask

    # ------------------------------------------------------------ Sandbox

    async def open(self) -> None:
        """See the port. Raises `PlatformError` UNAVAILABLE, saying what is missing and why."""
        self._closing = False
        self._offers = await asyncio.to_thread(
            runtimes.offers, self._search_path, self._loop_module
        )
        self._data_dir.mkdir(parents=True, exist_ok=True)
        await self._open_supervisor()
        if Layer.USER in self.isolation.layers and Layer.MOUNTS not in self.isolation.layers:
            self._files = CodeCopies(server_name(self._data_dir))
            await self._files.open()
        if self._mode == "process" and self.isolation.missing:
            await self.close()
            reasons = "; ".join(f"{layer}: {why}" for layer, why in self.isolation.missing.items())
            raise PlatformError(
                ErrorCode.UNAVAILABLE,
                f"this machine lacks layers of isolation that `process` demands: {reasons}. "
                "Choose `auto` to run with those that it has.",
            )

    async def prepare(self, runtime: str, *, bridged: bool = False) -> None:
        """See the port. Raises `PlatformError`."""
        await self._await_supervisor()
        runtime = self._entry_for(runtime, bridged)
        prepared = self._prepared.get(runtime)
        if prepared is None or (prepared.done() and prepared.exception()):
            prepared = self._ask_to_prepare(runtime)
        await asyncio.shield(prepared)

    async def start(self, spec: SandboxSpec) -> ProcessInstance:
        """See the port. Raises `PlatformError` where there is no such runtime, or no supervisor."""
        self._entry_for(spec.runtime, spec.bridged)
        if spec.is_template and (why := self.snapshots or (spec.bridged and _NO_FORKS)):
            raise PlatformError(ErrorCode.INVALID_PARAMETER, f"no snapshots here: {why}")
        directories = spec.code_dir, spec.layers_dir
        try:
            reachable = await self._files.take(directories)
        except OSError as error:
            raise PlatformError(ErrorCode.UNAVAILABLE, f"no copy of the code: {error}") from error
        try:
            await self._await_supervisor()
            return self._begin(spec, *reachable)
        except BaseException:
            self._files.give_back(directories)
            raise

    def _begin(self, spec: SandboxSpec, code_dir: Path, layers_dir: Path | None) -> ProcessInstance:
        try:
            channel, their_channel = wire.channel_ends()
            output_fd, their_output = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            raise PlatformError(ErrorCode.UNAVAILABLE, f"no room for a start: {error}") from error
        os.set_blocking(output_fd, False)
        own_root = Layer.MOUNTS in self.isolation.layers
        layers_root = LAYERS_ROOT if own_root else str(layers_dir)
        instance = ProcessInstance(
            spec,
            TASK_ROOT if own_root else str(code_dir),
            layers_root if layers_dir else None,
            channel,
            output_fd,
            self._send,
            catch_up=self._on_readable,
            give_up=self._kill_supervisor,
            forget=self._forget,
        )
        message = {
            "op": "start",
            "id": spec.instance_id,
            "runtime": self._entry_for(spec.runtime, spec.bridged),
            "code_dir": str(code_dir),
            "layers_dir": str(layers_dir) if layers_dir else None,
            "memory_mib": spec.memory_mib,
            "tmp_mib": spec.ephemeral_storage_mib,
            "template": spec.template,
            "is_template": spec.is_template,
        }
        self._instances[spec.instance_id] = instance
        self._send(message, [their_channel.fileno(), their_output])
        their_channel.close()
        os.close(their_output)
        return instance

    def memory_bytes(self) -> int:
        """See the port."""
        if self._readings.tell_memory:
            with contextlib.suppress(OSError, ValueError):  # the supervisor has just ended
                return self._readings.usage().memory_bytes
        return sum(instance.usage().memory_bytes for instance in self._instances.values())

    async def close(self) -> None:
        """See the port."""
        self._closing = True
        if self._restart:
            self._restart.cancel()
            await asyncio.wait([self._restart])
        if self._link:
            self._send({"op": "close"})
        if self._process:
            await self._end_supervisor(_CLOSE_LIMIT_S)
        self._lose_supervisor()
        for instance in list(self._instances.values()):
            instance.release()
        await self._files.close()

    @property
    def supervisor_pid(self) -> int | None:
        """The process that holds all instances; None while there is none."""
        return self._process.pid if self._process else None

    # ------------------------------------------------------------ the supervisor

    async def _open_supervisor(self) -> None:
        """Start a supervisor and learn what it can do."""
        ours, theirs = link.pair()
        with theirs:
            self._process = launch(theirs.fileno(), self._source_root)
        self._link = Link(ours)
        loop = asyncio.get_running_loop()
        loop.add_reader(ours.fileno(), self._on_readable)
        self._opened = loop.create_future()
        self._send(
            opening(
                self._data_dir,
                self._mode,
                self._disabled,
                self._offers,
                memory_mib=self._memory_mib,
                blanks=self._blanks,
                source_root=self._source_root,
                loop_path=self._loop_path,
            )
        )
        try:
            async with asyncio.timeout(_OPEN_LIMIT_S):
                answer = await self._opened
        except TimeoutError:
            answer = {"failure": f"no answer for {_OPEN_LIMIT_S:.0f} s"}
        if failure := answer.get("failure"):
            await self._end_supervisor(0)
            self._lose_supervisor()
            raise PlatformError(ErrorCode.UNAVAILABLE, f"the sandbox cannot start: {failure}")
        self._unusable = answer["unusable"]
        self.snapshots = answer["snapshots"]
        if not answer["knows_peers"]:
            self._unusable |= runtimes.without_peers(self._offers)
        self.runtimes = {
            name: offer.path
            for name, offer in self._offers.items()
            if name not in self._unusable and not name.endswith(runtimes.BRIDGED)
        }
        self.isolation = Isolation(
            driver="none" if self._mode == "none" else "process",
            layers=frozenset(Layer(layer) for layer in answer["layers"]),
            missing={Layer(layer): why for layer, why in answer["missing"].items()},
        )

    async def _end_supervisor(self, limit_s: float) -> None:
        """Reap it; kill it if it does not end within the limit."""
        process = self._process
        assert process
        try:
            await asyncio.to_thread(process.wait, limit_s or 0.001)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
        self._process = None

    def _kill_supervisor(self) -> None:
        """It is stuck. Its end ends all instances, and is noticed like any other."""
        if self._process:
            self._process.kill()

    def _lose_supervisor(self) -> None:
        """What it held is gone: tell each instance, and whoever waits for a runtime."""
        if self._link:
            asyncio.get_running_loop().remove_reader(self._link.fileno())
            asyncio.get_running_loop().remove_writer(self._link.fileno())
            self._link.close()
            self._link = None
        self._readings.close()
        if self._opened and not self._opened.done():
            self._opened.set_result({"failure": "the supervisor ended at once: see its output"})
        for instance in list(self._instances.values()):
            instance.on_exit(_KILLED if instance.started else _NEVER_STARTED)
        for prepared in self._prepared.values():
            if not prepared.done():
                _fail(prepared, "the sandbox's supervisor died")

    async def _await_supervisor(self) -> None:
        if self._restart and not self._restart.done():
            await asyncio.shield(self._restart)
        if self._link is None or self._closing:
            raise PlatformError(ErrorCode.UNAVAILABLE, "the sandbox has no supervisor")

    async def _replace_supervisor(self) -> None:
        """After one died: reap it, start another, prepare what was prepared."""
        await self._end_supervisor(1.0)
        runtimes = list(self._prepared)
        self._prepared.clear()
        said = self.isolation
        with contextlib.suppress(PlatformError):  # `_await_supervisor` says it to those who ask
            await self._open_supervisor()
            if said.layers - self.isolation.layers - {Layer.EGRESS}:
                self.isolation = said  # and never less: its end brings another attempt
                self._send({"op": "close"})
                return
            for runtime in runtimes:
                self._ask_to_prepare(runtime)

    # ------------------------------------------------------------ messages

    def _send(self, message: Message, fds: list[int] | None = None) -> None:
        if self._link is None:
            return  # its instances have ended, or are about to be told so
        self._link.send(message, fds or [])
        if self._link.backed_up:
            asyncio.get_running_loop().add_writer(self._link.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        assert self._link
        self._link.flush()
        if not self._link.backed_up:
            asyncio.get_running_loop().remove_writer(self._link.fileno())

    def _on_readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._link:
                received = self._link.receive()
                if received is None:
                    self._on_supervisor_end()
                    return
                self._on_message(*received)

    def _on_supervisor_end(self) -> None:
        opening = self._opened is not None and not self._opened.done()
        self._lose_supervisor()
        if self._closing or opening or self._restarts >= _MAX_RESTARTS:
            return
        self._restarts += 1
        self._restart = asyncio.get_running_loop().create_task(self._replace_supervisor())

    def _on_message(self, message: Message, fds: list[int]) -> None:
        kind = message["ev"]
        if kind == "open":
            if self._opened and not self._opened.done():
                self._readings = Readings(dict(zip(message.get("meters", ()), fds, strict=True)))
                fds = []
                self._opened.set_result(message)
        elif kind == "counted":
            self._blank_count.told(message["blanks"])
        elif kind == "prepared":
            self._on_prepared(message["runtime"], message["failure"])
        elif instance := self._instances.get(message["id"]):
            if kind == "started":
                self._restarts = 0
                meters = dict(zip(message["meters"], fds, strict=True))
                instance.on_started(message["origin"], message["pid"], meters)
                fds = []
            else:
                instance.on_told(message)
        for fd in fds:
            os.close(fd)

    def _forget(self, instance: ProcessInstance) -> None:
        self._instances.pop(instance.id, None)
        self._files.give_back(instance.directories)

    # ------------------------------------------------------------ runtimes

    def _entry_for(self, runtime: str, bridged: bool) -> str:
        """The name of the offer that such a function runs by."""
        entry = runtimes.entry_for(runtime, bridged, self._offers)
        if runtime not in self.runtimes or entry in self._unusable:
            why = self._unusable.get(entry, "it is not installed")
            there = f"on this machine ({why}); there is: {', '.join(self.runtimes) or 'none'}"
            raise PlatformError(ErrorCode.INVALID_RUNTIME, f"no {runtime} {there}")
        return entry

    def _ask_to_prepare(self, runtime: str) -> asyncio.Future[None]:
        prepared = asyncio.get_running_loop().create_future()
        self._prepared[runtime] = prepared
        self._send({"op": "prepare", "runtime": runtime})
        return prepared

    def _on_prepared(self, runtime: str, failure: str | None) -> None:
        prepared = self._prepared.get(runtime)
        if prepared and not prepared.done() and failure:
            _fail(prepared, f"{runtime} cannot start here: {failure}")
        elif prepared and not prepared.done():
            prepared.set_result(None)


_NO_FORKS = "a runtime that is a program cannot be forked"
_KILLED = Exit(signal=9)
_NEVER_STARTED = Exit(failure="the sandbox's supervisor died before the instance had started")


def _fail(future: asyncio.Future[None], reason: str) -> None:
    future.set_exception(PlatformError(ErrorCode.INVALID_RUNTIME, reason))
    future.exception()  # it may be that nobody waits any more
