"""The runtimes that this machine can run, and how: one entry of a table each.

How this works. Python's instances are forks of an interpreter that run our loop. Every other
runtime is a program beside a *bridge* (`samovar.guest.bridge`), itself such a fork, so blanks wait
for all of them alike; Python's, too, where that is asked for (`BRIDGED`). An entry of `TABLE` says
which names it stands for, what the machine must have and how the program is started; a name whose
program is missing is not offered.

Only programs below /usr are taken: that is what an instance sees of the host. They are asked for
their version once, as the server starts.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import samovar.guest
from samovar.sandbox.process import interpreters

BRIDGE = "samovar.guest.bridge"
BRIDGED = "+bridge"
"""`python3.11+bridge` is how a Python function runs that has extensions, say. Nobody is offered it
by that name."""

_PYTHON_ARGV = ("{program}", "-s", "-X", "samovar_opt={opt}", "{bootstraps}/python.py")
"""Without the user's own packages. The script comes last, as on AWS, where wrappers rely on it."""
_VERSION_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Offer:
    """A runtime that can be run."""

    path: str
    """What runs it, for people to read."""
    interpreter: str
    """Of its zygote."""
    loop: str
    """The module that its instances run."""
    argv: Sequence[str] = ()
    """The bridge's program; empty: the function's own `bootstrap`. See `guest.program`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    connected: bool = False

    def program(self) -> dict[str, object]:
        """What the bridge is told."""
        return {
            "argv": list(self.argv),
            "environment": dict(self.environment),
            "connected": self.connected,
        }


Found = Mapping[str, str]
"""What a finder found: a version → the program."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A family of runtimes that speak the Runtime API."""

    names: Mapping[str, str]
    """Runtime → the version that it needs."""
    find: Callable[[str], Found]
    """Look for programs; the argument is like PATH."""
    argv: Sequence[str] = ()
    """`{program}` is what was found, `{version}` its version; the rest as in `guest.program`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    connected: bool = False
    """Whether it is given a connection to the Runtime API: see `guest.program`."""


def offers(search_path: str, python_loop: str) -> dict[str, Offer]:
    """Return runtime → how it is run here. Asks programs for their version: do not call it on an
    event loop."""
    pythons = interpreters.find(search_path)
    found: dict[str, Offer] = {}
    if not pythons:
        return found
    for name, path in pythons.items():
        argv = [path, *_PYTHON_ARGV[1:]]
        found[name] = Offer(path, path, python_loop, argv, connected=True)
        found[name + BRIDGED] = Offer(path, path, BRIDGE, argv, connected=True)
    # One that lies in /usr: nothing needs to be mounted for it.
    bridge = min(pythons.values(), key=lambda path: not path.startswith("/usr/"))
    for entry in TABLE:
        programs = entry.find(search_path)
        for name, version in entry.names.items():
            if version in programs:
                found[name] = _offer(entry, programs[version], version, bridge)
    return found


def reads(offers: Mapping[str, Offer]) -> dict[str, list[str]]:
    """What a runtime reads of this package, where instances have no root that it is put into."""
    guest = Path(samovar.guest.__file__).parent
    return {
        name: [str(guest.parent if name.endswith(BRIDGED) else guest / "bootstraps")]
        for name, offer in offers.items()
        if offer.argv and offer.loop == BRIDGE
    }


def entry_for(runtime: str, bridged: bool, offers: Mapping[str, Offer]) -> str:
    """The name of the offer to take."""
    under_bridge = runtime + BRIDGED
    return under_bridge if bridged and under_bridge in offers else runtime


def without_peers(offers: Mapping[str, Offer]) -> dict[str, str]:
    """The runtimes that need an API on the loopback of an instance → why they cannot be had where
    that is everybody's, and instances cannot tell who asks."""
    why = "instances share the machine's network, and cannot tell who asks their Runtime API"
    return {name: why for name, offer in offers.items() if offer.loop == BRIDGE}


def _offer(entry: Entry, program: str, version: str, bridge: str) -> Offer:
    def fill(text: str) -> str:
        return text.replace("{program}", program).replace("{version}", version)

    return Offer(
        path=program,
        interpreter=bridge,
        loop=BRIDGE,
        argv=[fill(word) for word in entry.argv],
        environment={name: fill(text) for name, text in entry.environment.items()},
        connected=entry.connected,
    )


# ---------------------------------------------------------------- finders


def _own_bootstrap(search_path: str) -> Found:
    """The package brings its program along."""
    return {"": "bootstrap"}


def _node(search_path: str) -> Found:
    """Major version → `node`, the first one of each on the path."""
    found: dict[str, str] = {}
    for path in _programs("node", search_path):
        if major := re.match(r"v(\d+)\.", _version(path)):
            found.setdefault(major[1], path)
    return found


def _programs(name: str, search_path: str) -> Iterator[str]:
    seen = set()
    for directory in search_path.split(os.pathsep):
        path = str(Path(directory, name).resolve()) if directory else ""
        if path.startswith("/usr/") and path not in seen and interpreters.is_program(Path(path)):
            seen.add(path)
            yield path


def _version(path: str) -> str:
    try:
        done = subprocess.run(
            [path, "--version"],
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_VERSION_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


# ---------------------------------------------------------------- the table

TABLE = (
    Entry(
        names={"provided.al2023": "", "provided.al2": "", "provided": ""},
        find=_own_bootstrap,
    ),
    Entry(
        names={f"nodejs{major}.x": str(major) for major in (18, 20, 22, 24)},
        find=_node,
        argv=["{program}", "{bootstraps}/node.cjs"],
        environment={
            "NODE_PATH": "{opt}/nodejs/node{version}/node_modules:{opt}/nodejs/node_modules:"
            "/var/runtime/node_modules:/var/runtime:{task_root}",
        },
        connected=True,
    ),
)
