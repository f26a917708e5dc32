"""The exit status of a Python program that is told to end.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import sys

INTERRUPTED = 130


def exit_status(exit_: SystemExit) -> int:
    """Return the status that the interpreter would have ended with; prints what it would print."""
    code = exit_.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1
