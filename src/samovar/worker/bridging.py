"""Which functions run as a program beside a bridge, though their runtime has a loop of its own.

Extensions and wrapper scripts are about programs that speak the Runtime API; our Python loop is
faster because it is none. So it is left where one of them is there. So it is for shared libraries
in `lib/`: the dynamic linker reads LD_LIBRARY_PATH when a program starts, and an instance of our
loop is a fork of one that has started. And so it is for web servers, which are programs of their
own.
"""

from __future__ import annotations

from samovar.guest.program import WRAPPER
from samovar.model.function import FunctionVersion
from samovar.worker.contents import Contents
from samovar.worker.web import web_server


def is_bridged(version: FunctionVersion, code: Contents, layers: Contents) -> bool:
    """Whether a version whose code and layers bring that is to run so."""
    return bool(
        version.environment.get(WRAPPER)
        or web_server(version, layers)
        or layers.extensions
        or layers.libraries
        or code.libraries
    )
