"""What a command says when it cannot go on: one line, and what to do next."""

from __future__ import annotations


class CommandError(Exception):
    """Ends the command with a message, a next step and an exit status, never a traceback.

    Exit status 1: what was asked failed. 2: it could not be asked (bad input, no server).
    """

    def __init__(self, message: str, next_step: str = "", exit_status: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.exit_status = exit_status

    def __str__(self) -> str:
        return f"{self.message}; {self.next_step}" if self.next_step else self.message
