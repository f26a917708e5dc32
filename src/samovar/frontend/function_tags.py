"""The tags of functions; the manager is told of those that tune it.

The truth are the tags in the store. `follow` tells the manager what they ask for now, and is called
after each change: one at a time, so that what is in force is what is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionId
from samovar.model.tuning import PREFIX, Tuning, tuning_of
from samovar.ports import Manager
from samovar.scale_stores import TagStore
from samovar.telemetry.log import get_logger

log = get_logger("tags")

UNTUNED = Tuning()

MAX_TAGS = 50
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-tags.html"""


def check_tags(tags: Mapping[str, str]) -> None:
    """Raise `PlatformError` INVALID_PARAMETER for tags that a function cannot have."""
    if len(tags) > MAX_TAGS:
        raise _invalid(f"The number of tags exceeds the limit of {MAX_TAGS}.")
    for key in tags:
        if key.lower().startswith("aws:"):
            raise _invalid(f"The tag {key} is reserved: aws: is no prefix for your own.")
    try:
        tuning_of(tags)
    except ValueError as error:
        raise _invalid(str(error)) from error


class FunctionTags:
    """See the module's text."""

    def __init__(self, store: TagStore, manager: Manager) -> None:
        self._store = store
        self._manager = manager
        self._turn = asyncio.Lock()
        self._tuned: dict[FunctionId, Tuning] = {}

    async def restore(self) -> None:
        """At start: everything that is kept comes into force."""
        for function, tags in (await self._store.tagged(PREFIX)).items():
            self._tune(function, tags)

    async def get(self, function: FunctionId) -> Mapping[str, str]:
        """All of a function's. Raises NOT_FOUND."""
        return await self._store.tags(function)

    async def change(
        self, function: FunctionId, change: Callable[[Mapping[str, str]], Mapping[str, str]]
    ) -> None:
        """Put `change(tags)` in their place. Raises NOT_FOUND, and what `change` raises."""
        async with self._turn:
            self._tune(function, await self._store.change_tags(function, change))

    async def follow(self, function: FunctionId) -> None:
        """A function was created, or deleted."""
        async with self._turn:
            try:
                tags = await self._store.tags(function)
            except PlatformError as error:
                if error.code is not ErrorCode.NOT_FOUND:
                    raise
                tags = {}
            self._tune(function, tags)

    def _tune(self, function: FunctionId, tags: Mapping[str, str]) -> None:
        try:
            tuning = tuning_of(tags)
        except ValueError as error:  # another version of the platform knew them
            log.warning("tags are not understood", function=function.arn, reason=str(error))
            tuning = UNTUNED
        if tuning == self._tuned.get(function, UNTUNED):
            return
        self._manager.tune(function, tuning)
        if tuning == UNTUNED:
            del self._tuned[function]
        else:
            self._tuned[function] = tuning


def _invalid(message: str) -> PlatformError:
    return PlatformError(ErrorCode.INVALID_PARAMETER, message)
