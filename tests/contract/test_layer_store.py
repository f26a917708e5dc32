"""The contract of the store of layers: every implementation passes it."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import CodeRef
from samovar.model.layer import LayerId, LayerPolicy, LayerVersion
from samovar.ports import LayerStore, MadeFor
from samovar.store.database import Database
from samovar.store.layers import SqlLayerStore
from tests.contract.samples import ACCOUNT, REGION

ANYTHING = MadeFor()
CREATED = dt.datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=dt.UTC)


@pytest.fixture
def store(database: Database) -> LayerStore:
    return SqlLayerStore(database)


def layer_id(name: str = "tea", account: str = ACCOUNT, region: str = REGION) -> LayerId:
    return LayerId(account, region, name)


async def publish(store: LayerStore, layer: LayerId | None = None, **settings: Any) -> LayerVersion:
    layer = layer or layer_id()
    fields = {"code": CodeRef("ab" * 32, 1234, 5678), "created": CREATED} | settings
    return await store.publish(layer, lambda number: LayerVersion(layer, number, **fields))


async def test_a_version_comes_back_as_it_went(store: LayerStore) -> None:
    published = await publish(
        store,
        description="green",
        license_info="MIT",
        runtimes=("python3.11", "python3.12"),
        architectures=("x86_64",),
    )
    assert published.number == 1
    assert await store.get(layer_id(), 1) == published


async def test_numbers_are_never_used_again(store: LayerStore) -> None:
    for number in (1, 2):
        assert (await publish(store)).number == number
    await store.delete(layer_id(), 2)
    await store.delete(layer_id(), 1)
    assert (await publish(store)).number == 3


async def test_those_who_publish_at_once_get_numbers_of_their_own(store: LayerStore) -> None:
    published = await asyncio.gather(*(publish(store) for _ in range(8)))
    assert sorted(version.number for version in published) == list(range(1, 9))


async def test_a_publish_that_fails_uses_up_no_number(store: LayerStore) -> None:
    def fail(number: int) -> LayerVersion:
        raise RuntimeError(number)

    with pytest.raises(RuntimeError):
        await store.publish(layer_id(), fail)
    assert (await publish(store)).number == 1


async def test_what_is_not_there_is_not_found(store: LayerStore) -> None:
    await publish(store)
    for layer, number in ((layer_id(), 2), (layer_id("x"), 1), (layer_id(region="eu-west-1"), 1)):
        with pytest.raises(PlatformError) as refused:
            await store.get(layer, number)
        assert refused.value.code is ErrorCode.NOT_FOUND
        with pytest.raises(PlatformError):
            await store.policy(layer, number)


async def test_deleting_what_is_not_there_is_no_error(store: LayerStore) -> None:
    await store.delete(layer_id(), 1)


async def test_versions_are_listed_from_the_newest_page_by_page(store: LayerStore) -> None:
    for _ in range(5):
        await publish(store)
    await publish(store, layer_id("coffee"))
    seen, marker = [], None
    while True:
        page = await store.list_versions(layer_id(), ANYTHING, marker=marker, limit=2)
        seen += [version.number for version in page.items]
        marker = page.marker
        if marker is None:
            break
    assert seen == [5, 4, 3, 2, 1]


async def test_layers_are_listed_by_name_with_their_newest_version(store: LayerStore) -> None:
    for name in ("b", "a", "c", "a"):
        await publish(store, layer_id(name))
    await publish(store, layer_id("other", account="111111111111"))
    first = await store.list_layers(ACCOUNT, REGION, ANYTHING, marker=None, limit=2)
    rest = await store.list_layers(ACCOUNT, REGION, ANYTHING, marker=first.marker, limit=2)
    found = [(version.id.name, version.number) for version in (*first.items, *rest.items)]
    assert found == [("a", 2), ("b", 1), ("c", 1)]
    assert rest.marker is None


async def test_a_layer_without_versions_is_not_listed(store: LayerStore) -> None:
    await publish(store)
    await store.delete(layer_id(), 1)
    page = await store.list_layers(ACCOUNT, REGION, ANYTHING, marker=None, limit=9)
    assert page.items == []


async def test_listings_show_what_is_made_for_a_runtime_and_an_architecture(
    store: LayerStore,
) -> None:
    await publish(store, runtimes=("python3.1", "python3.11"), architectures=("x86_64",))
    await publish(store, runtimes=("python3.12",), architectures=("arm64", "x86_64"))
    await publish(store)

    async def fitting(**wanted: str) -> tuple[list[int], list[int]]:
        made_for = MadeFor(**wanted)
        versions = await store.list_versions(layer_id(), made_for, marker=None, limit=9)
        listed = await store.list_layers(ACCOUNT, REGION, made_for, marker=None, limit=9)
        return [v.number for v in versions.items], [v.number for v in listed.items]

    assert await fitting() == ([3, 2, 1], [3])
    assert await fitting(runtime="python3.11") == ([1], [1])
    assert await fitting(architecture="x86_64") == ([2, 1], [2])
    assert await fitting(runtime="python3.11", architecture="arm64") == ([], [])
    assert await fitting(runtime="python3_11") == ([], [])
    assert await fitting(runtime="%") == ([], [])


async def test_a_marker_of_another_listing_is_refused(store: LayerStore) -> None:
    for _ in range(2):
        await publish(store)
    page = await store.list_versions(layer_id(), ANYTHING, marker=None, limit=1)
    with pytest.raises(PlatformError) as refused:
        await store.list_layers(ACCOUNT, REGION, ANYTHING, marker=page.marker, limit=1)
    assert refused.value.code is ErrorCode.INVALID_PARAMETER


async def test_a_policy_is_kept_changed_and_removed(store: LayerStore) -> None:
    await publish(store)
    assert await store.policy(layer_id(), 1) is None
    policy = LayerPolicy("r1", {"friends": "111111111111"})
    await store.change_policy(layer_id(), 1, lambda _: policy)
    assert await store.policy(layer_id(), 1) == policy
    seen = []
    await store.change_policy(layer_id(), 1, seen.append)
    assert seen == [policy]
    assert await store.policy(layer_id(), 1) is None


async def test_a_policy_that_is_refused_stays_as_it_was(store: LayerStore) -> None:
    await publish(store)
    policy = LayerPolicy("r1", {"everybody": "*"})
    await store.change_policy(layer_id(), 1, lambda _: policy)

    def refuse(_: LayerPolicy | None) -> LayerPolicy:
        raise PlatformError(ErrorCode.CONFLICT, "no")

    with pytest.raises(PlatformError):
        await store.change_policy(layer_id(), 1, refuse)
    assert await store.policy(layer_id(), 1) == policy


async def test_code_is_in_use_while_a_version_refers_to_it(store: LayerStore) -> None:
    await publish(store, code=CodeRef("0" * 64, 1))
    await publish(store, code=CodeRef("1" * 64, 1))
    assert await store.code_in_use() == {"0" * 64, "1" * 64}
    await store.delete(layer_id(), 1)
    assert await store.code_in_use() == {"1" * 64}
