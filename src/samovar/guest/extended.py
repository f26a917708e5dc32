"""What an instance has besides its runtime: extensions, telemetry, an end that takes both along.

The bridge makes one for each instance, and tells it when the program is to be started, when it has
been, and when it has ended. Where no extension comes, it costs a few attributes.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from samovar.guest import extension_processes
from samovar.guest.exit_words import end_of_runtime
from samovar.guest.extensions import Extensions
from samovar.guest.instance_log import InstanceLog
from samovar.guest.platform_events import PlatformEvents
from samovar.guest.runtime_documents import document
from samovar.guest.shutdown import Shutdown
from samovar.guest.telemetry import Telemetry
from samovar.guest.telemetry_api import TelemetryApi

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from samovar.guest.child_process import ChildProcess
    from samovar.guest.http_listener import HttpListener, Router
    from samovar.guest.log_tee import LogTee
    from samovar.guest.phases import Phases
    from samovar.guest.reactor import Reactor
    from samovar.guest.wire import Meta
    from samovar.guest.worker_link import WorkerLink

_FAILED = 1 << 8
"""As a wait status: exit status 1."""


class Extended:
    """See the module. To be made before the runtime joins `phases`. `end(status)` ends the instance
    with a wait status."""

    def __init__(
        self,
        reactor: Reactor,
        phases: Phases,
        router: Router,
        env: Mapping[str, str],
        port: int,
        *,
        link: WorkerLink,
        listener: HttpListener,
        end: Callable[[int], None],
    ) -> None:
        self._phases = phases
        self._link = link
        self._listener = listener
        self._end = end
        self._status = 0
        self._program: ChildProcess | None = None
        self._program_pipe: LogTee | None = None
        self._telemetry = Telemetry(reactor)
        self._log = InstanceLog(reactor, self._telemetry)
        self._extensions = Extensions(reactor, phases, router, self._telemetry, self._log, env)
        self._events = PlatformEvents(phases, self._telemetry, self._extensions, env)
        TelemetryApi(router, self._extensions, self._telemetry, self._log, port)
        self._shutdown = Shutdown(
            reactor, self._extensions, self._telemetry, lambda: end(self._status)
        )
        self._extensions.on_failure = self._on_extension_failure
        self._extensions.on_end = self._shutdown.extension_ended
        phases.on_ready.append(self._on_ready)
        phases.before_answer.append(self._log.drain)
        phases.on_shutdown.append(self._on_shutdown)

    # ------------------------------------------------------------ the program

    def launch(self, layers: str | None, start_program: Callable[[], None]) -> None:
        """Start the external extensions that the layers bring; call `start_program` when all of
        them have registered, at once where there are none."""
        paths = extension_processes.find(layers)
        if not paths:
            start_program()
            return
        self._program_pipe = self._log.pipe("function")
        os.chdir("/")  # where they begin
        self._extensions.launch(paths, start_program)

    @property
    def logged(self) -> bool:
        """Whether all that has been printed is in the log."""
        return self._log.drained

    @property
    def has_internal(self) -> bool:
        """Whether the runtime's process has extensions within it."""
        return self._extensions.any_internal

    @property
    def program_output_fd(self) -> int | None:
        """What is to be the program's stdout and stderr; None: what is ours."""
        return self._program_pipe.child_fd if self._program_pipe else None

    def program_started(self, program: ChildProcess) -> None:
        """It runs."""
        self._program = program
        if self._program_pipe:
            self._program_pipe.close_child_fd()

    def program_ended(self, status: int) -> None:
        """It has ended; the instance does, sooner or later, with its status."""
        if self._program_pipe:
            self._program_pipe.finish()
        if self._shutdown.begun:
            self._shutdown.runtime_ended()
            return
        if not self._extensions.any:
            self._end(status)
            return
        self._phases.over = True
        self._take_last_words(status)

    def _take_last_words(self, status: int) -> None:
        if self._shutdown.begun:
            return
        if self._listener.finish():
            self._fail("Runtime.ExitError", end_of_runtime(status), status)
        else:
            self._phases.when_room(lambda: self._take_last_words(status))

    # ------------------------------------------------------------ the end

    def _fail(self, error_type: str, message: str, status: int) -> None:
        """The client is told at once; then the extensions are."""
        at_rest = self._phases.at_rest
        self._events.failed(error_type, message)
        self._phases.fault(error_type, message)
        self._phases.mute()  # who lives may yet answer, or ask for more
        if at_rest:
            self._link.hang_up()  # the worker is to send no more invocations
        self._status = status
        self._shutdown.begin("failure", self._program)

    def _on_extension_failure(self, error_type: str, message: str) -> None:
        if self._shutdown.begun:
            return
        if self._phases.ready:
            self._fail(error_type, message, _FAILED)
            return
        self._events.failed(error_type, message)
        self._phases.fail_init(document(error_type, message))
        self._link.mute()  # the others may yet get ready
        self._end(_FAILED)

    def _on_ready(self, meta: Meta) -> None:
        if self._extensions.any:
            meta.update(shutdown=True, shutdown_ms=self._shutdown.limit_ms)

    def _on_shutdown(self, meta: Meta) -> None:
        if meta["reason"] != "spindown":
            self._events.end_runtime("Runtime.Unknown", status=meta["reason"])
        self._shutdown.begin(meta["reason"], self._program, meta["deadline_ms"])
