"""A holder: the process that holds a template's memory, from before there is anything in it.

How this works. A zygote forks it as it forks a blank, but it keeps its privileges. It makes room
for a runner (`call_list`), and then clones a process that *shares its memory* (CLONE_VM): that one
becomes an instance like any other, and runs the function's init. The holder itself does not come
back from its clone as long as that runs: the supervisor, which traces it, holds it there. So it
executes nothing in memory that the function can write to.

    ← {"space", "forge", "thread_id_address"}
    → one byte: the holder is traced

When init is over, the supervisor ends the instance, and the holder alone has its memory: see
`template` for what comes then.

Runs in zygotes: Python 3.9, standard library only.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from typing import TYPE_CHECKING

from samovar.sandbox.process import blank
from samovar.sandbox.process import syscalls as sys_

if TYPE_CHECKING:
    from typing import Any, NoReturn

PAGE_BYTES = 4096
SPACE_BYTES = 16 * PAGE_BYTES
"""Of the room for a runner; its instructions are in the first page."""


def hold(
    isolation: blank.Isolation, request: dict[str, Any], fds: list[int], loop: blank.RuntimeLoop
) -> NoReturn:
    """Become a holder. `fds` are the instance's control socket, our own to the supervisor, and
    what `blank.live` takes. Never returns."""
    control, forge, *rest = fds
    try:
        sys_.die_with_parent(signal.SIGKILL)
        if sys_.has_ended(isolation.supervisor_fd):
            os._exit(1)
        # No program of the host's is to take a dump of the memory that a function has: `blank`.
        resource.setrlimit(resource.RLIMIT_CORE, (blank.lowered(resource.RLIMIT_CORE, 1),) * 2)
        # Its memory is counted as ours, whoever of us two uses it.
        for fd in rest[: request["cgroups"]]:
            os.write(fd, b"0")
        sys_.forget_restartable_sequences()
        told = {"space": sys_.map_space(SPACE_BYTES, PAGE_BYTES), "forge": forge}
        told["thread_id_address"] = sys_.thread_id_address()
        os.write(forge, json.dumps(told).encode())
        if not os.read(forge, 1):
            os._exit(0)
        if isolation.processes:
            sys_.setns(rest[-1], sys_.CLONE_NEWPID)
        if sys_.fork_into(isolation.clone_flags() | sys_.CLONE_VM):
            os._exit(1)  # the supervisor should have held us
        os.close(forge)
        blank.live(isolation, request, [control, *rest], loop)
    except OSError as error:
        os.write(control, f"{type(error).__name__}: {error}".encode()[:1000])
    finally:
        os._exit(1)
