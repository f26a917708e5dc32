"""What every `FunctionStore` does: aliases."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST
from samovar.ports import FunctionStore
from tests.contract.samples import a_version, an_alias, function_id

ARN = function_id().arn


@pytest.fixture
async def published(store: FunctionStore) -> FunctionStore:
    """A store with a function `f` that has versions 1, 2 and 3."""
    await store.create(a_version(), {})
    for _ in range(3):
        await store.publish(
            function_id(),
            lambda latest, _, number: dataclasses.replace(latest, version=str(number)),
        )
    return store


async def names_of(store: FunctionStore, version: str | None = None) -> list[str]:
    page = await store.list_aliases(function_id(), version=version, marker=None, limit=100)
    return [alias.name for alias in page.items]


async def test_an_alias_comes_back_as_it_went(published: FunctionStore) -> None:
    alias = an_alias(description="Über\n", routing={"2": 0.25, "3": 0.1})
    await published.create_alias(alias)
    assert await published.get_alias(function_id(), "live") == alias


async def test_an_alias_may_point_to_latest(published: FunctionStore) -> None:
    await published.create_alias(an_alias(version=LATEST))
    assert (await published.get_alias(function_id(), "live")).version == LATEST


async def test_of_two_aliases_of_one_name_at_once_exactly_one_wins(
    published: FunctionStore,
) -> None:
    attempts = [published.create_alias(an_alias(revision_id=str(n))) for n in range(5)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    lost = [result for result in results if result is not None]
    assert lost == [PlatformError(ErrorCode.CONFLICT, f"Alias already exists: {ARN}:live")] * 4


@pytest.mark.parametrize(
    ("alias", "missing"),
    [
        (an_alias(version="9"), "9"),
        (an_alias(version="live"), "live"),
        (an_alias(routing={"2": 0.5, "8": 0.5}), "8"),
    ],
)
async def test_an_alias_of_a_missing_version_is_refused(
    alias: object, missing: str, published: FunctionStore
) -> None:
    refused = PlatformError(ErrorCode.NOT_FOUND, f"Function not found: {ARN}:{missing}")
    assert isinstance(alias, type(an_alias()))
    with pytest.raises(PlatformError) as created:
        await published.create_alias(alias)
    await published.create_alias(an_alias())
    with pytest.raises(PlatformError) as replaced:
        await published.replace_alias(alias, expected_revision_id="r1")
    assert (created.value, replaced.value) == (refused, refused)
    assert await published.get_alias(function_id(), "live") == an_alias()


async def test_an_alias_that_is_not_there_is_named_in_awss_words(published: FunctionStore) -> None:
    not_there = PlatformError(ErrorCode.NOT_FOUND, f"Cannot find alias arn: {ARN}:live")
    with pytest.raises(PlatformError) as got:
        await published.get_alias(function_id(), "live")
    with pytest.raises(PlatformError) as replaced:
        await published.replace_alias(an_alias(), expected_revision_id="r1")
    assert (got.value, replaced.value) == (not_there, not_there)


async def test_a_replaced_alias_is_the_new_one(published: FunctionStore) -> None:
    await published.create_alias(an_alias(routing={"2": 0.5}))
    changed = an_alias(version="3", revision_id="r2", description="new")
    await published.replace_alias(changed, expected_revision_id="r1")
    assert await published.get_alias(function_id(), "live") == changed


async def test_of_two_updates_of_one_alias_exactly_one_wins(published: FunctionStore) -> None:
    await published.create_alias(an_alias())
    attempts = [
        published.replace_alias(an_alias(revision_id=f"new{n}"), expected_revision_id="r1")
        for n in range(5)
    ]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert results.count(None) == 1
    codes = {error.code for error in results if isinstance(error, PlatformError)}
    assert codes == {ErrorCode.PRECONDITION_FAILED}


async def test_a_version_stays_while_aliases_point_to_it(published: FunctionStore) -> None:
    await published.create_alias(an_alias("live", "1", routing={"2": 0.1}))
    await published.create_alias(an_alias("beta", "2"))
    refusals = []
    for version in "12":
        with pytest.raises(PlatformError) as refused:
            await published.delete_version(function_id(), version)
        refusals.append((refused.value.code, refused.value.message))
    words = "Unable to delete version because the following aliases reference it: "
    assert refusals == [
        (ErrorCode.CONFLICT, f"{words}[live]"),
        (ErrorCode.CONFLICT, f"{words}[beta, live]"),
    ]
    await published.delete_version(function_id(), "3")


async def test_a_version_can_go_once_its_alias_has(published: FunctionStore) -> None:
    await published.create_alias(an_alias())
    await published.delete_alias(function_id(), "live")
    await published.delete_version(function_id(), "1")
    with pytest.raises(PlatformError):
        await published.get(function_id(), "1")


async def test_pointing_to_a_version_and_deleting_it_at_once_leaves_no_loose_alias(
    published: FunctionStore,
) -> None:
    await asyncio.gather(
        published.create_alias(an_alias(version="1", routing={"2": 0.5})),
        published.delete_version(function_id(), "2"),
        published.delete_version(function_id(), "1"),
        return_exceptions=True,
    )
    for name in await names_of(published):
        alias = await published.get_alias(function_id(), name)
        for version in (alias.version, *alias.routing):
            assert (await published.get(function_id(), version)).version == version


async def test_deleting_an_alias_that_is_not_there_is_no_error(published: FunctionStore) -> None:
    await published.delete_alias(function_id(), "live")
    await published.delete_alias(function_id("nobody"), "live")


async def test_aliases_are_listed_by_name_in_pages_though_some_go(
    published: FunctionStore,
) -> None:
    for name in ("d", "a", "c", "b", "e"):
        await published.create_alias(an_alias(name))
    first = await published.list_aliases(function_id(), version=None, marker=None, limit=2)
    await published.delete_alias(function_id(), "b")
    rest = await published.list_aliases(function_id(), version=None, marker=first.marker, limit=9)
    assert [alias.name for alias in first.items] == ["a", "b"]
    assert [alias.name for alias in rest.items] == ["c", "d", "e"]
    assert rest.marker is None


async def test_aliases_are_listed_by_the_version_they_point_to(published: FunctionStore) -> None:
    await published.create_alias(an_alias("one", "1"))
    await published.create_alias(an_alias("two", "2", routing={"1": 0.1}))
    listed = [await names_of(published, version) for version in ("1", "2", "3", "nonsense")]
    assert listed == [["one"], ["two"], [], []]
