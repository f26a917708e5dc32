"""What runs the instances of each runtime here: an engine, with its zygote and its blanks.

Runtimes that differ in the bridge's program alone share one.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from samovar.model.isolation import Layer
from samovar.sandbox.process import blank, interpreters, resources
from samovar.sandbox.process.cell import Start
from samovar.sandbox.process.children import Children
from samovar.sandbox.process.event_loop import EventLoop
from samovar.sandbox.process.layers import Ground
from samovar.sandbox.process.leisure import Leisure
from samovar.sandbox.process.link import Message
from samovar.sandbox.process.mother import Recipe, ZygoteMother
from samovar.sandbox.process.resources import ResourcePool
from samovar.sandbox.process.runtime import Keeper, Runtime

_SHARED_PROCESSES = 8192
"""Without a cgroup: what all instances of a user namespace together may have."""


@dataclass(frozen=True, slots=True)
class Engine:
    """See the module."""

    zygote: ZygoteMother
    runtime: Runtime


class Engines:
    """Those in use, made when they are first asked for. `settings` are the driver's."""

    def __init__(
        self,
        settings: Message,
        ground: Ground,
        loop: EventLoop,
        leisure: Leisure,
        pool: ResourcePool,
        keeper: Keeper,
        known: Children,
    ) -> None:
        self._settings = settings
        self._ground = ground
        self._loop = loop
        self._leisure = leisure
        self._pool = pool
        self._keeper = keeper
        self._children = known
        self._engines: dict[tuple[str, str], Engine] = {}
        """By interpreter and loop."""

    def __iter__(self) -> Iterator[Engine]:
        return iter(self._engines.values())

    def of(self, runtime: str) -> Engine:
        """The engine of a runtime."""
        key = self._settings["runtimes"][runtime], self._settings["loops"][runtime]
        if key not in self._engines:
            zygote = ZygoteMother(self._recipe(*key), self._loop, self._children)
            blanks = Runtime(
                zygote,
                self._loop,
                self._leisure,
                self._pool,
                self._keeper,
                blanks=self._settings["blanks"],
                own_mounts=Layer.MOUNTS in self._ground.layers,
            )
            self._engines[key] = Engine(zygote, blanks)
        return self._engines[key]

    @functools.cached_property
    def isolation(self) -> blank.Isolation:
        """What a zygote knows of the layers of its blanks."""
        return blank.Isolation(self._layers())

    def readable(self, start: Start) -> list[str]:
        """What an instance has to read, where it has no root of its own."""
        prefix = interpreters.prefix(self._settings["runtimes"][start.runtime])
        found = [start.code_dir, prefix, *self._settings["reads"].get(start.runtime, [])]
        return [*found, start.layers_dir] if start.layers_dir else found

    def _recipe(self, interpreter: str, loop: str) -> Recipe:
        uids = resources.uid_range(self._settings["name"])[: resources.NAMED_UIDS]
        networks = self._ground.networks
        settings = self._layers() | {
            "nameservers": networks.nameservers if networks else None,
            "uids": [uids.start, uids.stop] if Layer.USER in self._ground.layers else [0, 1],
            "prefix": interpreters.prefix(interpreter),
            "loop_module": loop,
            "programs": self._settings["programs"],
            "shown": self._settings["shown"].get(interpreter, {}),
            "loop_path": self._settings["loop_path"],
        }
        return Recipe(
            interpreter=interpreter,
            source_root=self._settings["source_root"],
            settings=settings,
        )

    def _layers(self) -> Message:
        return {
            "layers": sorted(self._ground.layers),
            "user_namespace": self._ground.user_namespace,
            "own_proc": self._ground.own_proc,
            "processes_limit": self._processes_limit(),
        }

    def _processes_limit(self) -> int | None:
        """RLIMIT_NPROC counts a user's processes: of use where that is not the host's user."""
        if Layer.USER in self._ground.layers:
            return blank.PROCESSES
        return _SHARED_PROCESSES if self._ground.user_namespace else None
