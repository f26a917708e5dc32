"""Starting a runtime's program: the function's own `bootstrap`, or an interpreter with one of ours.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from samovar.guest import shown_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"
WEB_ADAPTER = "/opt/bootstrap"
"""The wrapper of the AWS Lambda Web Adapter, whose work the bridge does."""
CONNECTION_FD = 3

_TO_DEFAULT = {signal.SIGPIPE, signal.SIGXFSZ}
"""What Python ignores, and a program does not expect to be."""


class EntrypointError(Exception):
    """There is no program, or the kernel does not take it for one; in AWS's words."""


class Program:
    """How a runtime is started.

    `entry` comes from the sandbox's table of runtimes: `argv`, empty for the function's own
    `bootstrap`, and `environment`. In both, `{bootstraps}` stands for the folder of our own
    bootstraps, `{task_root}` for that of the code and `{opt}` for that of the layers. `connected`,
    where it is there and true: one of ours that begins with a connection to the Runtime API."""

    def __init__(self, entry: Mapping[str, Any], task_root: str, opt: str = "/opt") -> None:
        self._entry = entry
        self._task_root = task_root
        self._opt = opt

    @property
    def connected(self) -> bool:
        """Whether `start` is to be given a connection to the Runtime API."""
        return bool(self._entry.get("connected"))

    def start(
        self,
        env: Mapping[str, str],
        output_fd: int | None = None,
        connection_fd: int | None = None,
    ) -> int:
        """Return its pid. Raises `EntrypointError`. The function's own settings win over the
        runtime's. `output_fd` becomes its stdout and stderr; None: ours. `connection_fd`
        becomes its descriptor 3.

        A wrapper script is started in place of a runtime of ours, with the command line as its
        arguments: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html#runtime-wrapper
        """
        argv = [self._expand(word) for word in self._entry["argv"]]
        if argv and env.get(WRAPPER):
            argv = [env[WRAPPER], *argv]
        argv = argv or [self._own_bootstrap()]
        preset = {k: self._expand(text) for k, text in self._entry["environment"].items()}
        given = {1: output_fd, 2: output_fd, CONNECTION_FD: connection_fd}
        actions = [
            (os.POSIX_SPAWN_DUP2, fd, number) for number, fd in given.items() if fd is not None
        ]
        try:
            return os.posix_spawn(
                argv[0], argv, {**preset, **env}, file_actions=actions, setsigdef=_TO_DEFAULT
            )
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise EntrypointError(f"fork/exec {argv[0]}: {reason}") from error

    def _own_bootstrap(self) -> str:
        candidates = [os.path.join(root, "bootstrap") for root in (self._task_root, self._opt)]
        for path in candidates:
            if os.path.isfile(path):
                return path
        raise EntrypointError(f"Couldn't find valid bootstrap(s): [{' '.join(candidates)}]")

    def _expand(self, text: str) -> str:
        installed = os.path.isdir(shown_files.OWN_BOOTSTRAPS)
        ours = shown_files.OWN_BOOTSTRAPS if installed else shown_files.DIRECTORY
        places = {"bootstraps": ours, "task_root": self._task_root, "opt": self._opt}
        for name, path in places.items():
            text = text.replace("{" + name + "}", path)
        return text


def as_web_server(
    entry: Mapping[str, Any], init: Mapping[str, Any], env: Mapping[str, str]
) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The entry and the environment for a function that is a web server. In a managed runtime its
    handler names the script that starts it, which finds the runtime's program on its path."""
    env = dict(env)
    if env.get(WRAPPER) == WEB_ADAPTER:
        del env[WRAPPER]
    if not entry["argv"]:
        return entry, env
    runtime = os.path.dirname(entry["argv"][0])
    env["PATH"] = f"{runtime}:{env.get('PATH', os.defpath)}" if runtime else env["PATH"]
    script = os.path.join(init["task_root"], init["handler"])
    return {**entry, "argv": [script], "connected": False}, env
