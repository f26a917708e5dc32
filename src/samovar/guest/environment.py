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
    from collections.abc import Callable, Mapping

_TRACE_ID = "_X_AMZN_TRACE_ID"
SDK = "/var/runtime"


def forget_zygote() -> None:
    """Drop what the child has inherited. A blank does this while it waits for its function."""
    for name in list(os.environ):
        del os.environ[name]
    time.tzset()
    # Code may be read-only, or shared between instances where there is no mount namespace.
    sys.dont_write_bytecode = True
    sys.path[:] = [entry for entry in sys.path if entry]
    sys.path.append(SDK)
    sys.argv = ["bootstrap.py"]
    # The zygote's own script, and whatever its globals hold, is none of the function's business.
    sys.modules["__main__"] = ModuleType("__main__")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()


def apply(env: Mapping[str, str], task_root: str, opt: str | None = None) -> list[str]:
    """Set environment, time zone, directory and search path. `OSError` if there is no code.

    Returns the folders of the function's own modules, first those of its code: they come before
    PYTHONPATH, as on AWS. `opt` is where its layers are."""
    os.environ.update(env)
    if "TZ" in env:
        time.tzset()
    os.chdir(task_root)
    python_path = env.get("PYTHONPATH")
    if python_path:
        sys.path[:0] = [entry for entry in python_path.split(os.pathsep) if entry]
    folders = [task_root, *layer_folders(opt)]
    sys.path[:0] = folders
    for folder in folders:
        # A new finder, for the zygote may have looked there when there was nothing yet; that of
        # folders, for a search would first try in vain to read them as a zip (5 % of an init).
        sys.path_importer_cache[folder] = sys.path_hooks[-1](folder)
    return folders


def layer_folders(opt: str | None) -> list[str]:
    """Where layers keep modules, of those places that are there."""
    if opt is None:
        return []
    version = "python{}.{}".format(*sys.version_info)
    places = [f"{opt}/python/lib/{version}/site-packages", f"{opt}/python"]
    return [place for place in places if os.path.isdir(place)]


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


def set_trace_id_source(trace_id: Callable[[], str | None]) -> None:
    """From now on `_X_AMZN_TRACE_ID` in os.environ is what this returns to who asks for it: many
    requests run at once, each with its own. A list of the variables is without it."""
    values = getattr(os.environ, "_data", None)
    if isinstance(values, dict):
        traced = _Traced(values)
        traced.trace_id = trace_id
        for variables in (os.environ, os.environb):
            variables._data = traced  # type: ignore[union-attr]


class _Traced(dict[bytes, bytes]):
    """The variables of os.environ."""

    trace_id: Callable[[], str | None]

    def __missing__(self, key: bytes) -> bytes:
        found = self.trace_id() if key == _TRACE_ID_KEY else None
        if found is None:
            raise KeyError(key)
        return os.fsencode(found)
