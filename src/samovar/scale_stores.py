"""The ports of the stores of how functions are scaled, and of their tags: Protocols only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from samovar.model.function import Alias, FunctionId, FunctionVersion
from samovar.model.scale import ScaleRule
from samovar.stores import Page


@dataclass(frozen=True, slots=True)
class Scales:
    """What was asked for of one function, and what its qualifiers stand for."""

    rules: Sequence[ScaleRule] = ()
    aliases: Sequence[Alias] = ()
    """Those that have a rule."""
    versions: Sequence[FunctionVersion] = ()
    """Those that have one, of their own or by an alias."""


class ScaleStore(Protocol):
    """Durable rules of how many instances versions have. Each method is one transaction, durable
    on return. Rules end with their function, version or alias.

    Errors are `PlatformError` NOT_FOUND ("Function not found: ARN")."""

    async def get(self, function: FunctionId, qualifier: str) -> ScaleRule | None:
        """None: there is none, or no such function, version or alias."""
        ...

    async def scales(self, function: FunctionId) -> Scales:
        """Nothing of a function that is not there. Whoever needs it to be consistent sees that
        nothing of that function is changed meanwhile."""
        ...

    async def put(self, rule: ScaleRule) -> None:
        """In place of the one of that qualifier. NOT_FOUND where there is no such version or
        alias."""
        ...

    async def delete(self, function: FunctionId, qualifier: str) -> bool:
        """Whether there was one. NOT_FOUND as for `put`."""
        ...

    async def list_provisioned(
        self, function: FunctionId, *, marker: str | None, limit: int
    ) -> Page[ScaleRule]:
        """Those that provision, by qualifier. NOT_FOUND."""
        ...

    async def functions(self) -> Sequence[FunctionId]:
        """Everybody who has a rule."""
        ...

    async def provisioned(self) -> Mapping[FunctionId, int]:
        """How much each of all functions has provisioned, all in all."""
        ...

    async def list_versions_of(
        self, capacity_provider_arn: str, *, marker: str | None, limit: int
    ) -> Page[FunctionVersion]:
        """The versions that have this capacity provider, by name and number."""
        ...


class TagStore(Protocol):
    """Durable tags of functions. NOT_FOUND where the function is not there."""

    async def tags(self, function: FunctionId) -> Mapping[str, str]: ...

    async def change_tags(
        self, function: FunctionId, change: Callable[[Mapping[str, str]], Mapping[str, str]]
    ) -> Mapping[str, str]:
        """Put `change(tags)` in their place and return it; what `change` raises undoes it."""
        ...

    async def tagged(self, prefix: str) -> Mapping[FunctionId, Mapping[str, str]]:
        """Everybody who has a tag whose key begins with `prefix`, with all tags."""
        ...
