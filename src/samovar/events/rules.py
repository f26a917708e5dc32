"""The rules that an event goes by: from its function's event invoke config and version.

How this works. The stores are the truth; what was read is kept until somebody changes the function
and calls `forget`. A read that began before that does not fill the cache after it.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-configuring.html: the configuration is
that of the version or alias that was invoked. The dead-letter queue is a setting of the version
itself, of an alias' main one here.
"""

from __future__ import annotations

from samovar.events.verdict import DEFAULT_MAX_AGE_S, DEFAULT_MAX_RETRIES, Rules
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import Event, function_of_arn
from samovar.model.function import LATEST, FunctionId
from samovar.ports import FunctionStore, InvocationRuleStore

MAX_KNOWN = 100_000
"""Functions."""


class RuleBook:
    """See the module's text."""

    def __init__(self, configs: InvocationRuleStore, functions: FunctionStore) -> None:
        self._configs = configs
        self._functions = functions
        self._known: dict[FunctionId, dict[str, Rules]] = {}
        self._generation = 0

    async def rules_of(self, event: Event) -> Rules:
        """What applies to an event. Raises `PlatformError` where that cannot be found out now."""
        named = function_of_arn(event.target)
        if named is None:
            return Rules()
        function, qualifier = named[0], named[1] or LATEST
        known = self._known.get(function)
        if known is not None and qualifier in known:
            return known[qualifier]
        generation = self._generation
        rules = await self._read(function, qualifier)
        if generation == self._generation:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known.setdefault(function, {})[qualifier] = rules
        return rules

    def forget(self, function: FunctionId) -> None:
        """Drop what is known of a function: it has changed."""
        self._generation += 1
        self._known.pop(function, None)

    async def _read(self, function: FunctionId, qualifier: str) -> Rules:
        config = await self._configs.get(function, qualifier)
        letters = await self._dead_letter_arn(function, qualifier)
        if config is None:
            return Rules(dead_letter_arn=letters)
        return Rules(
            max_retries=DEFAULT_MAX_RETRIES if config.max_retries is None else config.max_retries,
            max_age_s=config.max_age_s or DEFAULT_MAX_AGE_S,
            on_success_arn=config.on_success_arn,
            on_failure_arn=config.on_failure_arn,
            dead_letter_arn=letters,
        )

    async def _dead_letter_arn(self, function: FunctionId, qualifier: str) -> str | None:
        try:
            version = qualifier
            if qualifier != LATEST and not qualifier.isdecimal():
                version = (await self._functions.get_alias(function, qualifier)).version
            return (await self._functions.get(function, version)).dead_letter_arn
        except PlatformError as error:
            if error.code is ErrorCode.NOT_FOUND:  # the attempt will find that too
                return None
            raise
