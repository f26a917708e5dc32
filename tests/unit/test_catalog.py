"""From a name and a qualifier to the version that runs; never an old one after a change."""

from __future__ import annotations

import dataclasses

import pytest

from samovar.frontend.catalog import Catalog, Target
from samovar.model.errors import ErrorCode, PlatformError
from tests.contract.samples import a_version, an_alias, function_id
from tests.unit.known_functions import KnownFunctions

F = function_id()
LATEST, ONE, TWO = a_version(), a_version(version="1"), a_version(version="2")


@pytest.fixture
def store():
    return KnownFunctions(LATEST, ONE, TWO)


@pytest.mark.parametrize(
    ("qualifier", "version"), [(None, LATEST), ("$LATEST", LATEST), ("1", ONE), ("live", TWO)]
)
async def test_a_qualifier_is_a_version_or_an_alias(store, qualifier, version):
    store.aliases[F, "live"] = an_alias(version="2")
    assert await Catalog(store).resolve(F, qualifier) is version


async def test_what_was_read_is_known_from_then_on(store):
    catalog = Catalog(store)
    assert catalog.cached(F, None) is None
    await catalog.resolve(F, None)
    store.reads = 0
    assert await catalog.resolve(F, None) is LATEST
    assert catalog.cached(F, None) is LATEST
    assert store.reads == 0


async def test_after_a_change_the_new_version_is_read(store):
    catalog = Catalog(store)
    await catalog.resolve(F, None)
    changed = dataclasses.replace(LATEST, revision_id="r2")
    store.put(changed)
    catalog.forget(F)
    assert catalog.cached(F, None) is None
    assert await catalog.resolve(F, None) is changed


async def test_a_read_that_began_before_a_change_is_not_kept_after_it(store):
    catalog = Catalog(store)
    changed = dataclasses.replace(LATEST, revision_id="r2")

    def change_in_between():
        store.before_answer = lambda: None
        store.put(changed)
        catalog.forget(F)

    store.before_answer = change_in_between
    assert await catalog.resolve(F, None) is LATEST  # its request came before the change, too
    assert catalog.cached(F, None) is None
    assert await catalog.resolve(F, None) is changed


async def test_a_change_of_an_alias_makes_its_target_be_read_again(store):
    catalog = Catalog(store)
    store.aliases[F, "live"] = an_alias(version="1")
    await catalog.resolve(F, "live")
    store.aliases[F, "live"] = an_alias(version="2")
    catalog.forget(F)
    assert await catalog.resolve(F, "live") is TWO


async def test_what_is_not_there_is_not_found_and_not_kept(store):
    catalog = Catalog(store)
    for qualifier, arn in ((None, function_id("g").arn), ("live", f"{function_id('g').arn}:live")):
        with pytest.raises(PlatformError, match=f"Function not found: {arn}".replace("$", r"\$")):
            await catalog.resolve(function_id("g"), qualifier)
    assert catalog._targets == {}


async def test_a_failing_store_is_no_missing_function(store):
    async def broken(function, name):
        raise PlatformError(ErrorCode.SERVICE, "disk")

    store.get_alias = broken
    with pytest.raises(PlatformError) as failed:
        await Catalog(store).resolve(F, "live")
    assert failed.value.code is ErrorCode.SERVICE


@pytest.mark.parametrize(("draw", "version"), [(0.0, TWO), (0.19, TWO), (0.2, ONE), (0.99, ONE)])
async def test_a_weighted_alias_sends_its_share_to_the_second_version(store, draw, version):
    store.aliases[F, "live"] = an_alias(version="1", routing={"2": 0.2})
    catalog = Catalog(store, draw=lambda: draw)
    assert await catalog.resolve(F, "live") is version
    assert catalog.cached(F, "live") is version
    assert await catalog.read_primary(F, "live") is ONE


def test_weights_of_zero_and_one_mean_never_and_always():
    assert Target((ONE, TWO), (0.0,)).choose(lambda: 0.0) is ONE
    assert Target((ONE, TWO), (1.0,)).choose(lambda: 0.999) is TWO


async def test_the_catalog_has_a_bound(store):
    catalog = Catalog(store, max_cached=2)
    for name in "abc":
        store.put(a_version(function_id(name)))
        await catalog.resolve(function_id(name), None)
    assert len(catalog._targets) <= 2
