"""Takes what it can get: processors, with as many processes as it is told to, or memory."""

import os
import time

PAGE = 4096
held = []


def handler(event, context):
    hold(event.get("hold_mib", 0))
    children = [fork_a_spinner(event["spin_s"]) for _ in range(event.get("processes", 0))]
    for pid in children:
        os.waitpid(pid, 0)
    time.sleep(event.get("sleep_s", 0))
    return {"ok": True}


def hold(mib):
    """Keep so much in all, every page of it written."""
    while len(held) < mib:
        held.append(b"\1" * (1 << 20))
    del held[mib:]


def fork_a_spinner(seconds):
    pid = os.fork()
    if pid == 0:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        os._exit(0)
    return pid
