"""What every `FunctionStore` does: listings, page by page."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST, FunctionVersion
from samovar.ports import FunctionStore, Page
from tests.contract.samples import ACCOUNT, REGION, a_version, function_id, publish


async def names_in(store: FunctionStore, *, all_versions: bool, limit: int) -> list[list[str]]:
    """The pages of a listing, as `name` or `name:version`."""
    pages: list[list[str]] = []
    marker: str | None = None
    while marker is not None or not pages:
        page: Page[FunctionVersion] = await store.list_functions(
            ACCOUNT, REGION, all_versions=all_versions, marker=marker, limit=limit
        )
        pages.append(
            [f"{v.id.name}:{v.version}" if all_versions else v.id.name for v in page.items]
        )
        marker = page.marker
    return pages


async def test_functions_are_listed_by_name_in_pages(store: FunctionStore) -> None:
    for name in ("b", "a", "C", "a-b", "a_b"):
        await store.create(a_version(function_id(name)), {})
    await store.create(a_version(function_id("other", region="eu-north-1")), {})
    pages = await names_in(store, all_versions=False, limit=2)
    assert pages == [["C", "a"], ["a-b", "a_b"], ["b"]]


async def test_a_last_page_that_is_full_has_no_marker(store: FunctionStore) -> None:
    for name in "ab":
        await store.create(a_version(function_id(name)), {})
    assert await names_in(store, all_versions=False, limit=2) == [["a", "b"]]


async def test_all_versions_are_listed_latest_first_then_ascending(store: FunctionStore) -> None:
    for name in "ab":
        await store.create(a_version(function_id(name)), {})
    await publish(store, 10, function_id("a"))
    pages = await names_in(store, all_versions=True, limit=4)
    assert [name for page in pages for name in page] == [
        "a:$LATEST",
        *(f"a:{n}" for n in range(1, 11)),
        "b:$LATEST",
    ]


async def test_a_listing_goes_on_though_its_last_item_is_deleted(store: FunctionStore) -> None:
    for name in "abcd":
        await store.create(a_version(function_id(name)), {})
    first = await store.list_functions(ACCOUNT, REGION, all_versions=False, marker=None, limit=2)
    for name in "ab":
        await store.delete_function(function_id(name))
    rest = await store.list_functions(
        ACCOUNT, REGION, all_versions=False, marker=first.marker, limit=9
    )
    assert [version.id.name for version in rest.items] == ["c", "d"]


async def test_versions_are_listed_in_pages_though_some_go(store: FunctionStore) -> None:
    await store.create(a_version(), {})
    await publish(store, 3)
    first = await store.list_versions(function_id(), marker=None, limit=2)
    for version in "123":
        await store.delete_version(function_id(), version)
    rest = await store.list_versions(function_id(), marker=first.marker, limit=2)
    assert [version.version for version in first.items] == [LATEST, "1"]
    assert (rest.items, rest.marker) == ([], None)


MARKERS: Sequence[str] = (
    "",
    "garbage",
    "0",
    "ü",
    "W10=",
    "WyJmdW5jdGlvbnMiXQ==",  # ["functions"]
    "WyJmdW5jdGlvbnMiLCAxLCAiYSJd",  # ["functions", 1, "a"]
    "WyJmdW5jdGlvbnMiLCAiYSIsIHRydWVd",  # ["functions", "a", true]
    "WyJmdW5jdGlvbnMiLCAiYSIsIDFlOTld",  # ["functions", "a", 1e99]
    "WyJmdW5jdGlvbnMiLCAiXHVkODAwIiwgMF0=",  # ["functions", "\ud800", 0]
    "W1tbW1tbW1tb" * 80,
    "A" * 5000,
)


@pytest.mark.parametrize("marker", MARKERS, ids=range(len(MARKERS)))
async def test_a_made_up_marker_is_refused(marker: str, store: FunctionStore) -> None:
    await store.create(a_version(), {})
    for listing in (
        store.list_functions(ACCOUNT, REGION, all_versions=False, marker=marker, limit=5),
        store.list_versions(function_id(), marker=marker, limit=5),
        store.list_aliases(function_id(), version=None, marker=marker, limit=5),
    ):
        with pytest.raises(PlatformError) as refused:
            await listing
        assert refused.value.code is ErrorCode.INVALID_PARAMETER
