"""Resolves a function and a qualifier to the version to run, from memory where possible.

How this works. The store is the truth; the cache holds what was read from it. Whoever changes a
function calls `forget` after the change is durable and before it is acknowledged. A read that
began before a `forget` must not fill the cache after it, hence the generation numbers: that is
what makes "no old code after an acknowledged update" hold (invariant 4).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST, FunctionId, FunctionVersion
from samovar.ports import FunctionStore

MAX_CACHED = 100_000
"""Functions."""

_VERSION = re.compile(r"\$LATEST|\d+")


@dataclass(frozen=True, slots=True)
class Target:
    """What a qualifier stands for: one version, or several with their shares."""

    versions: tuple[FunctionVersion, ...]
    """The first takes what the weights leave."""
    weights: tuple[float, ...] = ()

    def choose(self, draw: Callable[[], float]) -> FunctionVersion:
        """Pick a version; `draw` returns a number in [0, 1)."""
        if self.weights:
            point = draw()
            for version, weight in zip(self.versions[1:], self.weights, strict=True):
                if point < weight:
                    return version
                point -= weight
        return self.versions[0]


class Catalog:
    """See the module's text."""

    def __init__(
        self,
        store: FunctionStore,
        draw: Callable[[], float] = random.random,
        max_cached: int = MAX_CACHED,
    ) -> None:
        self._store = store
        self._draw = draw
        self._max_cached = max_cached
        self._targets: dict[FunctionId, dict[str, Target]] = {}
        self._generation = 0

    def cached(self, function: FunctionId, qualifier: str | None) -> FunctionVersion | None:
        """The version to run if it is known without asking the store."""
        known = self._targets.get(function)
        target = known.get(qualifier or LATEST) if known is not None else None
        return target.choose(self._draw) if target is not None else None

    async def resolve(self, function: FunctionId, qualifier: str | None) -> FunctionVersion:
        """The version to run. Raises NOT_FOUND with AWS's words."""
        known = self.cached(function, qualifier)
        if known is not None:
            return known
        generation = self._generation
        target = await self._read(function, qualifier or LATEST)
        if generation == self._generation:
            if len(self._targets) >= self._max_cached:
                self._targets.clear()
            self._targets.setdefault(function, {})[qualifier or LATEST] = target
        return target.choose(self._draw)

    async def read_primary(self, function: FunctionId, qualifier: str) -> FunctionVersion:
        """What a qualifier stands for, weights aside, straight from the store."""
        return (await self._read(function, qualifier)).versions[0]

    def forget(self, function: FunctionId) -> None:
        """Drop what is known of a function: it has changed."""
        self._generation += 1
        self._targets.pop(function, None)

    async def _read(self, function: FunctionId, qualifier: str) -> Target:
        if _VERSION.fullmatch(qualifier):
            return Target((await self._store.get(function, qualifier),))
        try:
            alias = await self._store.get_alias(function, qualifier)
        except PlatformError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise
            arn = function.qualified_arn(qualifier)
            raise PlatformError(ErrorCode.NOT_FOUND, f"Function not found: {arn}") from error
        numbers = (alias.version, *alias.routing)
        versions = [await self._store.get(function, number) for number in numbers]
        return Target(tuple(versions), tuple(alias.routing.values()))
