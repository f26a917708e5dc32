"""`samovar logs`: what a function has printed, and with -f what it prints from now on."""

from __future__ import annotations

import sys
from urllib.parse import quote, urlencode

from samovar.cli.endpoint import Endpoint

TAIL_BYTES = 1024 * 1024
CHUNK_BYTES = 64 * 1024


def logs(endpoint: Endpoint, name: str, *, lines: int, follow: bool) -> None:
    """Print the newest lines to stdout; with `follow` go on until interrupted."""
    path = f"/_samovar/logs/{quote(name, safe='')}?{urlencode(endpoint.scope())}"
    with endpoint.ask(f"{path}&tail_bytes={TAIL_BYTES}") as response:
        tail = b"".join(response.read().splitlines(keepends=True)[-lines:] if lines else ())
    if not follow:
        _write(tail)
        return
    # Asked for anew by size: what came in between takes the place of the oldest line.
    with endpoint.ask(f"{path}&tail_bytes={len(tail)}&follow=1", timeout_s=None) as response:
        while chunk := response.read1(CHUNK_BYTES):
            _write(chunk)


def _write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
