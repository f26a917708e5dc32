"""The end of a bridged instance that has extensions: who is told, in which order, and how long.

How this works. First the runtime: SIGTERM, and SIGKILL when it has used up its share of the time.
Then the external extensions: SHUTDOWN for those that asked for it, SIGKILL for the others. When all
have ended, or time is up, `done` is called, and what is left goes with this process.

An extension may take SHUTDOWN for the last that it hears and end at once, so the telemetry that was
still waiting goes to its subscribers before.

    2,000 ms with external extensions, of which 30 % are the runtime's
      500 ms with internal ones only
        0    without any: then nobody is told, and none of this is in use

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown
Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from samovar.guest import extension_documents as documents
from samovar.guest.extension_state import READY, REGISTERED, RUNNING

if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.guest.child_process import ChildProcess
    from samovar.guest.extensions import Extensions
    from samovar.guest.reactor import Reactor
    from samovar.guest.telemetry import Telemetry

EXTERNAL_LIMIT_MS = 2_000
INTERNAL_LIMIT_MS = 500
RUNTIME_SHARE = 0.3
TELEMETRY_LIMIT_S = 0.3
"""So long SHUTDOWN waits for subscribers to take what is left."""

_LISTENING = (REGISTERED, READY, RUNNING)


class Shutdown:
    """See the module. The owner says when processes end: `runtime_ended`, `extension_ended`."""

    def __init__(
        self,
        reactor: Reactor,
        extensions: Extensions,
        telemetry: Telemetry,
        done: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._extensions = extensions
        self._telemetry = telemetry
        self._done = done
        self._reason = ""
        self._deadline_ms = 0
        self._runtime: ChildProcess | None = None
        self._telling = False
        self.begun = False

    @property
    def limit_ms(self) -> int:
        """How long it may take."""
        if self._extensions.external:
            return EXTERNAL_LIMIT_MS
        return INTERNAL_LIMIT_MS if self._extensions.any else 0

    def begin(
        self, reason: str, runtime: ChildProcess | None, deadline_ms: int | None = None
    ) -> None:
        """End everything, by `deadline_ms` (since the epoch) at the latest. Once begun, it goes
        its way."""
        if self.begun:
            return
        self.begun = True
        now_ms = time.time() * 1e3
        longest_ms = int(now_ms) + self.limit_ms
        self._reason = reason
        self._deadline_ms = min(deadline_ms or longest_ms, longest_ms)
        self._runtime = runtime
        left_s = max(0.0, (self._deadline_ms - now_ms) / 1e3)
        self._reactor.later(left_s, self._finish)
        if runtime is None or runtime.ended:
            self.runtime_ended()
            return
        runtime.terminate()
        self._reactor.later(left_s * RUNTIME_SHARE, runtime.kill)

    def runtime_ended(self) -> None:
        """After `begin`."""
        self._telemetry.flush(self._tell_extensions)
        self._reactor.later(TELEMETRY_LIMIT_S, self._tell_extensions)

    def extension_ended(self) -> None:
        """At any time."""
        if self._telling and not self._alive():
            self._finish()

    def _tell_extensions(self) -> None:
        if self._telling:
            return
        self._telling = True
        event = documents.shutdown_event(self._reason, self._deadline_ms)
        for extension in self._extensions.external:
            if documents.SHUTDOWN in extension.events and extension.state.name in _LISTENING:
                extension.tell(event)
            elif extension.process:
                extension.process.kill()
        if not self._alive():
            self._finish()

    def _alive(self) -> bool:
        return any(e.process and not e.process.ended for e in self._extensions.external)

    def _finish(self) -> None:
        for extension in self._extensions.external:
            if extension.process:
                extension.process.kill()
        if self._runtime:
            self._runtime.kill()
        self._done()
