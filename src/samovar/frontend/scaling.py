"""Keeps the manager at what clients asked for: how many instances versions have.

How this works. The truth are the rules in the store, and the aliases that some of them follow.
`follow` compares what they come to with what the manager was told last, and tells it the rest: it
is called after whatever may have changed that, and at start. What gets more is told before what
gets less: for an alias that moves, instances of its new version are asked for before those of its
old one are let go (nobody waits until they are up); where both together are over a limit, the other
way round. What was refused is told again whenever anything has changed.

All who change a rule, or what one follows, take their `turn`: what is in force is what is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Container, Iterable
from dataclasses import dataclass

from samovar.frontend import scales as plan
from samovar.model.errors import PlatformError
from samovar.model.function import (
    LATEST,
    Alias,
    FunctionId,
    FunctionVersion,
    State,
    UpdateStatus,
    VersionKey,
)
from samovar.model.scale import Provisioned, ProvisionedStatus, Scale, ScaleRule
from samovar.ports import FunctionStore, Manager
from samovar.scale_stores import Scales, ScaleStore
from samovar.telemetry.log import get_logger

log = get_logger("scaling")

NOTHING = Scale()


@dataclass(frozen=True, slots=True)
class _Told:
    """What the manager was told of a version."""

    version: FunctionVersion
    scale: Scale
    refused: str | None = None
    """Why it does not keep to it."""


class Scaling:
    """See the module's text."""

    def __init__(self, rules: ScaleStore, functions: FunctionStore, manager: Manager) -> None:
        self.rules = rules
        self.turn = asyncio.Lock()
        self._functions = functions
        self._manager = manager
        self._told: dict[FunctionId, dict[VersionKey, _Told]] = {}
        self._refused: set[VersionKey] = set()
        """Of what was told, what is not kept to."""

    async def restore(self) -> None:
        """At start: everything that is kept comes into force."""
        for function in await self.rules.functions():
            await self.follow(function)

    async def follow(self, function: FunctionId) -> None:
        """Something of a function has changed, and is durable. Raises nothing that the change
        could have been refused for."""
        async with self.turn:
            await self.follow_in_turn(function)

    async def follow_in_turn(self, function: FunctionId) -> None:
        """The same for who has the turn."""
        self._tell(function, await self.rules.scales(function))
        self._tell_refused()

    async def put(self, rule: ScaleRule) -> None:
        """A rule comes into force, and is kept; or neither. Raises `PlatformError`."""
        async with self.turn:
            function = rule.function
            before, versions = await self._scales_with(rule.qualifier, function)
            after = plan.with_rule(before, rule)
            if rule.provisioned is not None:
                plan.check_provisioned(after, rule.qualifier, versions)
            try:
                self._tell(function, after, strict={version.key for version in versions})
                await self.rules.put(rule)
            except BaseException:
                self._tell(function, before)
                raise
            self._tell_refused()

    async def remove(self, function: FunctionId, qualifier: str) -> bool:
        """Whether there was a rule. Raises `PlatformError` NOT_FOUND."""
        async with self.turn:
            removed = await self.rules.delete(function, qualifier)
            await self.follow_in_turn(function)
            return removed

    async def check_alias(self, alias: Alias, versions: Iterable[FunctionVersion]) -> None:
        """Raise as AWS does where provisioned concurrency could not follow an alias to there."""
        scales = await self.rules.scales(alias.id)
        if any(rule.qualifier == alias.name for rule in scales.rules):
            after = plan.with_alias(scales, alias, versions)
            plan.check_provisioned(after, alias.name, versions)

    def applied(self, version: FunctionVersion) -> Scale:
        """What the manager keeps to."""
        told = self._told.get(version.id, {}).get(version.key)
        return NOTHING if told is None or told.refused is not None else told.scale

    async def progress(self, rule: ScaleRule) -> Provisioned:
        """How far a rule of provisioned concurrency has come, counted now."""
        scales = await self.rules.scales(rule.function)
        by_number = {version.version: version for version in scales.versions}
        parts = [
            self._progress_of(by_number[number])
            for number, share in plan.shares(rule, scales.aliases).items()
            if share and number in by_number
        ]
        return plan.total(rule.provisioned or 0, parts)

    # ------------------------------------------------------------ inside

    async def _scales_with(
        self, qualifier: str, function: FunctionId
    ) -> tuple[Scales, list[FunctionVersion]]:
        """What was asked for so far, complete with what `qualifier` stands for. NOT_FOUND."""
        scales = await self.rules.scales(function)
        if qualifier == LATEST or qualifier.isdecimal():
            versions = [await self._functions.get(function, qualifier)]
            known = {version.version: version for version in (*scales.versions, *versions)}
            return Scales(scales.rules, scales.aliases, [*known.values()]), versions
        alias = await self._functions.get_alias(function, qualifier)
        numbers = (alias.version, *alias.routing)
        versions = [await self._functions.get(function, number) for number in numbers]
        return plan.with_alias(scales, alias, versions), versions

    def _progress_of(self, version: FunctionVersion) -> Provisioned:
        told = self._told.get(version.id, {}).get(version.key)
        if told is None:
            return Provisioned(0, 0, 0, ProvisionedStatus.IN_PROGRESS)
        if told.refused is not None:
            return Provisioned(0, 0, 0, ProvisionedStatus.FAILED, told.refused)
        return self._manager.provisioned(version)

    def _tell(
        self, function: FunctionId, scales: Scales, *, strict: Container[VersionKey] = ()
    ) -> None:
        """Have the manager keep to it. What it refuses of `strict` is raised, else remembered: one
        rule is not refused for the sake of another."""
        told = self._told.setdefault(function, {})
        ready = {v.version: v for v in scales.versions if _is_ready(v)}
        after = {ready[n].key: (ready[n], s) for n, s in plan.wanted(scales).items() if n in ready}
        numbers = {version.version for version, _ in after.values()}
        replaced = [key for key in told if key.version in numbers and key not in after]
        self._let_go(told, replaced)  # first: both are revisions of the same version
        later = []
        for version, scale in after.values():
            try:
                self._tell_of(version, scale)
            except PlatformError:
                later.append((version, scale))
        self._let_go(told, [key for key in told if key not in after])
        for version, scale in later:
            try:
                self._tell_of(version, scale)
            except PlatformError as error:
                if version.key in strict:
                    raise
                log.warning("a scale is refused", function=version.arn, reason=error.message)
                told[version.key] = _Told(version, scale, error.message)
                self._refused.add(version.key)
        if not told:
            del self._told[function]

    def _tell_refused(self) -> None:
        """Something may have been given back: try again what was refused, of all functions."""
        for key in list(self._refused):
            told = self._told[key.function][key]
            with contextlib.suppress(PlatformError):
                self._tell_of(told.version, told.scale)

    def _let_go(self, told: dict[VersionKey, _Told], keys: Iterable[VersionKey]) -> None:
        for key in keys:
            self._manager.set_scale(told[key].version, NOTHING)
            del told[key]
            self._refused.discard(key)

    def _tell_of(self, version: FunctionVersion, scale: Scale) -> None:
        told = self._told[version.id]
        before = told.get(version.key)
        if before is None or before.scale != scale or before.refused is not None:
            self._manager.set_scale(version, scale)
            told[version.key] = _Told(version, scale)
            self._refused.discard(version.key)


def _is_ready(version: FunctionVersion) -> bool:
    return version.state is State.ACTIVE and version.last_update_status is UpdateStatus.SUCCESSFUL
