"""What a bare server costs that does nothing but read a body and answer, as ASGI and as RSGI."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.connection import Address
from benchmarks.load import Target
from benchmarks.service import free_address, listens, running
from benchmarks.setting import ROOT, Setting

_ANSWER = b'{"ok": true}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"12")]


async def asgi(_scope: Any, receive: Any, send: Any) -> None:
    """The ASGI application."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _ANSWER})


async def rsgi(_scope: Any, protocol: Any) -> None:
    """The RSGI application."""
    await protocol()
    protocol.response_bytes(200, [("content-type", "application/json")], _ANSWER)


def start_all(setting: Setting, stack: ExitStack) -> list[Target]:
    """Each server with one worker, until the stack unwinds."""
    environment = Path(sys.executable).parent
    return [
        _start(setting, stack, name, [environment / program, *arguments])
        for name, program, arguments in (
            ("uvicorn", "uvicorn", _uvicorn()),
            ("granian ASGI", "granian", _granian("asgi")),
            ("granian RSGI", "granian", _granian("rsgi")),
        )
    ]


def _uvicorn() -> list[str]:
    return [
        *("benchmarks.bare:asgi", "--http", "httptools", "--loop", "uvloop", "--lifespan", "off"),
        *("--no-access-log", "--log-level", "warning", "--host", "127.0.0.1", "--port"),
    ]


def _granian(interface: str) -> list[str]:
    return [
        *(f"benchmarks.bare:{interface}", "--interface", interface, "--workers", "1"),
        *("--loop", "uvloop", "--no-access-log", "--log-level", "warning"),
        *("--host", "127.0.0.1", "--port"),
    ]


def _start(setting: Setting, stack: ExitStack, name: str, command: list[Any]) -> Target:
    address: Address = free_address()
    stack.enter_context(
        running(
            [*command, str(address.port)],
            directory=setting.directory,
            name=name.replace(" ", "-"),
            ready=listens(address),
            cwd=ROOT,
        )
    )
    return Target(name, address)
