"""What one server alone may have: a data directory and an address.

Whoever starts a server as its child may claim them first and hand them over as open descriptors:
then nobody else gets them between the choice and the use.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

BACKLOG = 2048


def claim_data_dir(data_dir: Path) -> int | None:
    """Return the descriptor of its lock: it is ours until the last copy of that is closed. None:
    it is another server's. Raises `OSError` where it cannot be had at all."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError:
        os.close(lock)
        raise
    return lock


def listen(host: str, port: int) -> socket.socket:
    """Take an address; port 0: a free one. Raises `OSError` where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
