"""Requests at a steady rate, whether or not earlier ones have been answered.

A time counts from when its request was due, so that one slow answer makes no others look quick.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Sequence

from benchmarks.connection import TIMEOUT_S, Answer, Connection, UnexpectedAnswerError


def steady(
    connections: Sequence[Connection], raw_request: bytes, *, per_s: float, seconds: float
) -> list[tuple[float, Answer]]:
    """Send a request each `1 / per_s`; return how long each took in ms, and its answer.

    One that finds every connection taken waits for one."""
    free = list(connections)
    due_s: dict[Connection, float] = {}
    answered: list[tuple[float, Answer]] = []
    start = time.perf_counter()
    total, sent = int(per_s * seconds), 0
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ, connection)
        while len(answered) < total:
            now = time.perf_counter() - start
            if free and sent < total and now >= sent / per_s:
                connection = free.pop()
                due_s[connection] = sent / per_s
                sent += 1
                connection.send(raw_request)
                continue
            wait_s = max(0.0, sent / per_s - now) if free and sent < total else TIMEOUT_S
            ready = selector.select(wait_s)
            if not ready and wait_s == TIMEOUT_S:
                raise UnexpectedAnswerError(f"no answer for {TIMEOUT_S:.0f} s")
            for key, _ in ready:
                connection = key.data
                answer = connection.receive()
                if answer is not None:
                    took_s = time.perf_counter() - start - due_s.pop(connection)
                    answered.append((took_s * 1e3, answer))
                    free.append(connection)
    return answered
