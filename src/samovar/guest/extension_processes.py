"""External extensions: the programs of /opt/extensions, and how they are started.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_THEIRS = frozenset(
    {
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "_AWS_XRAY_DAEMON_ADDRESS",
        "_AWS_XRAY_DAEMON_PORT",
        "_HANDLER",
    }
)
"""Variables of the runtime alone: AWS's page, "Environment variables"."""

_TO_DEFAULT = {signal.SIGPIPE, signal.SIGXFSZ}


class LaunchError(Exception):
    """The kernel does not take it for a program; in AWS's words."""


def find(layers: str | None) -> list[str]:
    """Return the path of each extension below the folder of layers, in the order of their names."""
    folder = os.path.join(layers, "extensions") if layers else ""
    try:
        names = sorted(os.listdir(folder)) if folder else []
    except OSError:
        return []
    paths = [os.path.join(folder, name) for name in names]
    return [path for path in paths if not os.path.isdir(path)]


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """What an extension sees of the function's environment."""
    return {name: value for name, value in env.items() if name not in _NOT_THEIRS}


def start(path: str, env: Mapping[str, str], output_fd: int) -> int:
    """Return the pid of a process that leads a group of its own. Raises `LaunchError`."""
    try:
        return os.posix_spawn(
            path,
            [path],
            environment(env),
            file_actions=[(os.POSIX_SPAWN_DUP2, output_fd, fd) for fd in (1, 2)],
            setpgroup=0,
            setsigdef=_TO_DEFAULT,
        )
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise LaunchError(f"fork/exec {path}: {reason}") from error
