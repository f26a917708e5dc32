"""Finding a function's handler: `module.function` or `dir/module.function` → the callable.

Messages and types of what can go wrong are those of AWS's Python runtime.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

from samovar.guest.faults import (
    BUILT_IN_MODULE_CONFLICT,
    HANDLER_NOT_FOUND,
    IMPORT_MODULE_ERROR,
    MALFORMED_HANDLER_NAME,
    USER_CODE_SYNTAX_ERROR,
    FaultError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Handler = Callable[[Any, Any], Any]


def load_handler(name: str, folders: Sequence[str]) -> Handler:
    """Import the module that `name` names and return the handler; `folders` are those of the
    function's own modules, on `sys.path` already.

    Raises `FaultError`, or whatever the module itself raises while it is imported."""
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise FaultError(MALFORMED_HANDLER_NAME, f"Bad handler '{name}': {error}") from error
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise FaultError(
            BUILT_IN_MODULE_CONFLICT,
            f"Cannot use built-in module {module_name} as a handler module",
        )
    for folder in folders:
        _forget_shadowed_modules(folder)
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise FaultError(
            IMPORT_MODULE_ERROR, f"Unable to import module '{module_name}': {error}"
        ) from error
    except SyntaxError as error:
        raise FaultError(
            USER_CODE_SYNTAX_ERROR,
            f"Syntax error in module '{module_name}': {error}",
            [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}'],
        ) from error
    try:
        handler: Handler = getattr(module, function_name)
    except AttributeError as error:
        raise FaultError(
            HANDLER_NOT_FOUND, f"Handler '{function_name}' missing on module '{module_name}'"
        ) from error
    return handler


# What AWS's runtime has imported before it comes to the function: there too, those win.
_ALWAYS_LOADED = frozenset(
    "abc codecs collections contextlib copyreg datetime decimal encodings enum functools"  # noqa: SIM905
    " genericpath importlib io json keyword linecache logging math numbers operator os"
    " posixpath re reprlib site socket stat string struct sys threading time token tokenize"
    " traceback types typing warnings weakref".split()
)
_KEPT = _ALWAYS_LOADED.union(sys.builtin_module_names)


def _forget_shadowed_modules(folder: str) -> None:
    """Let the function's own modules win over standard ones that were imported before the fork.

    In a fresh interpreter `/var/task/queue.py` shadows the standard `queue`, for /var/task comes
    first. Here the standard one has been loaded already, so an import would find that."""
    try:
        names = {entry.partition(".")[0] for entry in os.listdir(folder)}
    except OSError:
        return
    shadowed = {name for name in names if name in sys.modules} - _KEPT
    # A folder of data shadows nothing.
    shadowed = {name for name in shadowed if _is_module(name, folder)}
    if not shadowed:
        return
    for module_name in list(sys.modules):
        if module_name.partition(".")[0] in shadowed:
            del sys.modules[module_name]


def _is_module(name: str, folder: str) -> bool:
    spec = PathFinder.find_spec(name, [folder])
    return spec is not None and spec.origin is not None
