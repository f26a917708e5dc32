"""Making a forked child look to the function like an interpreter that was started for it."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_TRACE_ID = "_X_AMZN_TRACE_ID"


def prepare(env: Mapping[str, str], task_root: str) -> None:
    """Apply the function's environment and forget the zygote's. `OSError` if there is no code."""
    _replace_environment(env)
    time.tzset()
    os.chdir(task_root)
    # Code may be read-only, or shared between instances where there is no mount namespace.
    sys.dont_write_bytecode = True
    sys.path[:] = _search_path(task_root, env.get("PYTHONPATH", ""))
    sys.path_importer_cache.pop(task_root, None)
    sys.argv = ["bootstrap.py"]
    # The zygote's own script, and whatever its globals hold, is none of the function's business.
    sys.modules["__main__"] = ModuleType("__main__")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()


def set_trace_id(trace_id: str | None) -> None:
    """Set or remove `_X_AMZN_TRACE_ID`.

    Past `os.environ`'s own setter: that calls setenv, and glibc never frees a value it has once
    held (measured: 140 bytes an invocation, which would end a 128 MiB instance after a million).
    So `os.environ` shows the id, and child processes that inherit the C environment don't."""
    values = getattr(os.environ, "_data", None)
    if not isinstance(values, dict):
        return
    if trace_id is None:
        values.pop(_TRACE_ID_KEY, None)
    else:
        values[_TRACE_ID_KEY] = os.fsencode(trace_id)


_TRACE_ID_KEY = os.fsencode(_TRACE_ID)


def _replace_environment(env: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name not in env]:
        del os.environ[name]
    os.environ.update(env)


def _search_path(task_root: str, python_path: str) -> list[str]:
    extra = [entry for entry in python_path.split(os.pathsep) if entry]
    rest = [entry for entry in sys.path if entry and entry != task_root]
    return [task_root, *extra, *rest]
