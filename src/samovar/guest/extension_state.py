"""The states of an extension, as the Extensions API has them, and what each of them allows.

    Started ──register──▶ Registered ──ready──▶ Ready ⇄ Running
                               │                  │        │
                               ├──fail_init──▶ InitError   │
                               └──fail_exit──▶ ExitError ◀─┘  (also from Ready)

`Ready` is an extension that waits for its next event, `Running` one that has it. States and
messages are those of AWS's emulator (lambda/core/states.go), so that an author reads what AWS
would say.
"""

from __future__ import annotations

STARTED, REGISTERED, READY, RUNNING = "Started", "Registered", "Ready", "Running"
INIT_ERROR, EXIT_ERROR, LAUNCH_ERROR = "InitError", "ExitError", "LaunchError"

_MOVES = {
    STARTED: {REGISTERED, LAUNCH_ERROR},
    REGISTERED: {READY, INIT_ERROR, EXIT_ERROR},
    READY: {RUNNING, EXIT_ERROR},
    RUNNING: {READY, EXIT_ERROR},
    INIT_ERROR: {INIT_ERROR},
    EXIT_ERROR: {EXIT_ERROR},
    LAUNCH_ERROR: set(),
}


class InvalidTransitionError(Exception):
    """A call out of turn; nothing has changed."""


class ExtensionState:
    """See the module. `subject` is what the messages call the extension."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._before_ready = REGISTERED
        self.name = STARTED

    def _move(self, new: str) -> None:
        if new not in _MOVES[self.name]:
            raise InvalidTransitionError(
                f"State transition from {self.name} to {new} failed for extension "
                f"{self._subject}. Error: State transition is not allowed"
            )
        self.name = new

    def register(self) -> None:
        """/extension/register."""
        self._move(REGISTERED)

    def ready(self) -> None:
        """/extension/event/next."""
        before = self.name
        self._move(READY)
        self._before_ready = before

    def withdraw(self) -> None:
        """It went before it was given an event: it may ask again."""
        if self.name == READY:
            self.name = self._before_ready

    def run(self) -> None:
        """It is given an event."""
        self._move(RUNNING)

    def fail_init(self) -> None:
        """/extension/init/error."""
        self._move(INIT_ERROR)

    def fail_exit(self) -> None:
        """/extension/exit/error."""
        self._move(EXIT_ERROR)

    def fail_launch(self) -> None:
        """It could not be started."""
        self._move(LAUNCH_ERROR)
