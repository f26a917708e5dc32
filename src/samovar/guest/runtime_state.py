"""The states of a runtime, as the Runtime API has them, and what each of them allows.

    Started ──ready──▶ Ready ──end──▶ ResponseSent ──ready──▶ Ready
       │                 └──begin_response──▶ InvocationResponse ──end_response──▶ ResponseSent
       ├──fail_init──▶ InitError
       └──await_restore──▶ RestoreReady ──restore──▶ Restoring ──ready──▶ Ready
                                                        └──fail_restore──▶ RestoreError

`Ready` is from a call of /next to the end of its invocation, or to the beginning of a streamed
response; a response in one piece is at its end as it comes. States and messages are those of AWS's
emulator (lambda/core/states.go), so that a client's author reads what AWS would say.
"""

from __future__ import annotations

_STARTED, _INIT_ERROR, _READY, _SENT = "Started", "InitError", "Ready", "ResponseSent"
_RESPONDING = "InvocationResponse"
_RESTORE_READY, _RESTORING, _RESTORE_ERROR = "RestoreReady", "Restoring", "RestoreError"
_NEVER_READY = (_INIT_ERROR, _RESPONDING, _RESTORE_READY, _RESTORE_ERROR)
_RESULTS = {"response": "InvocationResponse", "error": "InvocationErrorResponse"}


class InvalidTransitionError(Exception):
    """A call out of turn; nothing has changed."""

    def __init__(self, here: str, there: str) -> None:
        super().__init__(
            f"State transition from {here} to {there} failed for runtime. "
            "Error: State transition is not allowed"
        )


class RuntimeState:
    """See the module. `request_id` is that of the newest invocation, None before the first.

    `snapshots`: the instance may be one that is restored from a snapshot."""

    def __init__(self, snapshots: bool = False) -> None:
        self._snapshots = snapshots
        self._state = _STARTED
        self._running = False
        self.request_id: str | None = None

    def ready(self, *, delivered: bool) -> None:
        """/next. Asking again before an invocation was `delivered` is allowed, as with two
        connections, or after one that broke."""
        if self._state in _NEVER_READY or (self._running and delivered):
            raise InvalidTransitionError(self._state, _READY)
        self._state = _READY

    def fail_init(self) -> None:
        """/init/error."""
        if self._state != _STARTED:
            raise InvalidTransitionError(self._state, _INIT_ERROR)
        self._state = _INIT_ERROR

    def await_restore(self) -> None:
        """/restore/next."""
        if not self._snapshots or self._state != _STARTED:
            raise InvalidTransitionError(self._state, _READY)
        self._state = _RESTORE_READY

    def restore(self) -> None:
        """It has been restored, and /restore/next is answered."""
        if self._state != _RESTORE_READY:
            raise InvalidTransitionError(self._state, _RESTORING)
        self._state = _RESTORING

    def fail_restore(self) -> None:
        """/restore/error."""
        if self._state != _RESTORING:
            raise InvalidTransitionError(self._state, _RESTORE_ERROR)
        self._state = _RESTORE_ERROR

    def begin(self, request_id: str) -> None:
        """An invocation is delivered."""
        self.request_id = request_id
        self._running = True

    def withdraw(self) -> None:
        """It did not arrive."""
        self.request_id = None
        self._running = False

    def may_respond(self, request_id: str) -> bool:
        """Whether this invocation awaits its result."""
        return self._running and request_id == self.request_id

    def begin_response(self) -> None:
        """A streamed /response of the newest invocation."""
        self._state = _RESPONDING
        self._running = False

    def end_response(self) -> None:
        """Its end, good or bad."""
        self._state = _SENT

    def end(self, what: str) -> None:
        """/response or /error (`what`) of the newest invocation."""
        if not self._running:
            raise InvalidTransitionError(self._state, _RESULTS[what])
        self._state = _SENT
        self._running = False
