"""A function that has run its init, as it goes on in each fork of it.

How this works. In a template, `Snapshot` notes what a fork does not have of it by itself. The
template then waits for its next frame, and that is where each fork goes on: it is sent RESTORE, and
`restore` makes it an instance of its own. What must not be the same in all of them is made anew:
the state of `random`, of OpenSSL, and of numpy's global generator; all else asks the kernel, or is
the function's own to see to in a hook (AWS leaves it even those).

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import random
import signal
import sys
import threading
from typing import TYPE_CHECKING

from samovar.guest import snapshot_hooks
from samovar.guest.faults import FaultError
from samovar.guest.open_files import SNAPSHOT_ERROR, OpenFiles
from samovar.guest.tmp_files import TmpFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

_FOREVER = (signal.SIGKILL, signal.SIGSTOP)


class Snapshot:
    """See the module. `own_tmp`: /tmp is this instance's own, not the host's. Raises `FaultError`
    where a fork could not be like this, and what hooks raise."""

    def __init__(self, *, own_tmp: bool) -> None:
        snapshot_hooks.run_before_snapshot()
        others = [thread.name for thread in threading.enumerate()[1:]]
        if others:
            raise FaultError(
                SNAPSHOT_ERROR,
                f"The function's init has left threads running ({', '.join(others)[:200]}), which "
                "cannot be part of a snapshot. Start them in the handler, or in a hook of "
                "register_after_restore.",
            )
        gc.collect()
        self._files = OpenFiles()
        self._tmp = TmpFiles() if own_tmp else None
        self._directory = os.getcwd()
        self._mask = os.umask(0o022)
        os.umask(self._mask)
        self._handlers = {
            number: signal.getsignal(number)
            for number in signal.valid_signals()
            if number not in _FOREVER
        }
        self._tells_faults = faulthandler.is_enabled()
        gc.freeze()

    def restore(self, env: Mapping[str, str]) -> None:
        """Go on, in a fork. Raises what hooks raise."""
        os.environ.update(env)
        for number, handler in self._handlers.items():
            if handler is not None:
                with contextlib.suppress(OSError):  # the C library keeps some for itself
                    signal.signal(number, handler)
        if self._tells_faults:
            faulthandler.enable()
        os.umask(self._mask)
        if self._tmp is not None:
            self._tmp.put_back()
        os.chdir(self._directory)
        self._files.put_back()
        _make_random_anew()
        snapshot_hooks.run_after_restore()


def _make_random_anew() -> None:
    random.seed()
    ssl = sys.modules.get("ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(32), 32.0)
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
