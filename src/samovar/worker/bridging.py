"""Which functions run as a program beside a bridge, though their runtime has a loop of its own.

Extensions and wrapper scripts are about programs that speak the Runtime API; our Python loop is
faster because it is none. So it is left where one of them is there. So it is for shared libraries
in `lib/`: the dynamic linker reads LD_LIBRARY_PATH when a program starts, and an instance of our
loop is a fork of one that has started. And so it is for web servers, which are programs of their
own.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

from samovar.guest import extension_processes
from samovar.guest.program import WRAPPER
from samovar.model.function import FunctionVersion
from samovar.worker.web import web_server

_LIBRARY = re.compile(r".+\.so(\.\d+)*")


def is_bridged(version: FunctionVersion, code_dir: Path, layers_dir: Path | None) -> bool:
    """Whether a version, whose code and layers are unpacked there, is to run so."""
    if version.environment.get(WRAPPER) or web_server(version, layers_dir):
        return True
    if layers_dir and extension_processes.find(str(layers_dir)):
        return True
    return any(_brings_libraries(root) for root in (code_dir, layers_dir) if root)


@functools.lru_cache(maxsize=4096)
def _brings_libraries(root: Path) -> bool:
    """Of an unpacked tree, which never changes."""
    try:
        return any(_LIBRARY.fullmatch(path.name) for path in (root / "lib").iterdir())
    except OSError:
        return False
