"""What instances find at /var/runtime: our own bootstraps, and the modules that Python's needs.

The modules come compiled as well, for this interpreter, or each start would compile them anew.

Runs in zygotes: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import posixpath

DIRECTORY = "/var/runtime"
OWN_BOOTSTRAPS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bootstraps")

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_MODULES = (
    "__init__.py",
    "guest/__init__.py",
    "guest/context.py",
    "guest/environment.py",
    "guest/exit_status.py",
    "guest/faults.py",
    "guest/handler.py",
    "guest/output.py",
    "guest/payload.py",
    "guest/python_runtime.py",
    "guest/runtime_client.py",
)
_UNCHECKED_HASH = (1).to_bytes(4, "little")
"""Python's PEP 552: trust the file without a look at its source."""


def find() -> dict[str, bytes]:
    """Return path in the template root → content."""
    shown = {}
    for name in sorted(os.listdir(OWN_BOOTSTRAPS)):
        path = os.path.join(OWN_BOOTSTRAPS, name)
        if os.path.isfile(path):
            shown[f"{DIRECTORY}/{name}"] = _read(path)
    for name in _MODULES:
        shown_at = f"{DIRECTORY}/samovar/{name}"
        shown[shown_at] = source = _read(os.path.join(_PACKAGE, name))
        folder, file = posixpath.split(shown_at)
        tag = importlib.util.cache_from_source(file)
        shown[f"{folder}/{tag}"] = _compiled(source, shown_at)
    return shown


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _compiled(source: bytes, path: str) -> bytes:
    code = compile(source, path, "exec", dont_inherit=True)
    source_hash = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + source_hash + marshal.dumps(code)
