"""What every `ScaleStore` does."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST, CapacityProvider
from samovar.model.scale import ScaleRule
from samovar.scale_stores import Scales
from samovar.store.database import Database
from samovar.store.functions import SqlFunctionStore
from samovar.store.scale_rules import SqlScaleStore
from tests.contract.samples import a_version, an_alias, function_id, publish

FUNCTION = function_id()
PROVIDER = "arn:aws:lambda:us-east-1:000000000000:capacity-provider:default"
RULE = ScaleRule(FUNCTION, "1", dt.datetime(2026, 11, 23, tzinfo=dt.UTC), provisioned=3)


@pytest.fixture
async def functions(database: Database) -> SqlFunctionStore:
    """With one function that has three versions and an alias of two of them."""
    store = SqlFunctionStore(database)
    await store.create(a_version(), {})
    await publish(store, 3)
    await store.create_alias(an_alias("live", "2", routing={"3": 0.25}))
    return store


@pytest.fixture
def rules(database: Database, functions: SqlFunctionStore) -> SqlScaleStore:
    return SqlScaleStore(database)


async def test_a_rule_comes_back_as_it_went(rules):
    bounded = ScaleRule(FUNCTION, LATEST, RULE.last_modified, min_instances=1, max_instances=9)
    for rule in (RULE, bounded):
        assert await rules.get(FUNCTION, rule.qualifier) is None
        await rules.put(rule)
        assert await rules.get(FUNCTION, rule.qualifier) == rule


async def test_the_last_rule_of_a_qualifier_counts(rules):
    await rules.put(RULE)
    await rules.put(replace(RULE, provisioned=4))
    assert (await rules.get(FUNCTION, "1")).provisioned == 4


async def test_a_rule_is_deleted_once(rules):
    await rules.put(RULE)
    assert await rules.delete(FUNCTION, "1")
    assert not await rules.delete(FUNCTION, "1")
    assert await rules.get(FUNCTION, "1") is None


@pytest.mark.parametrize("qualifier", ["4", "007", "dead"])
async def test_only_what_is_there_has_a_rule(rules, qualifier):
    for refused in (
        rules.put(replace(RULE, qualifier=qualifier)),
        rules.put(replace(RULE, function=function_id("nobody"))),
        rules.delete(FUNCTION, qualifier),
        rules.list_provisioned(function_id("nobody"), marker=None, limit=1),
    ):
        with pytest.raises(PlatformError) as error:
            await refused
        assert error.value.code is ErrorCode.NOT_FOUND


async def test_scales_are_the_rules_with_the_versions_that_they_are_of(rules):
    await rules.put(RULE)
    await rules.put(replace(RULE, qualifier="live"))
    found = await rules.scales(FUNCTION)
    assert {rule.qualifier for rule in found.rules} == {"1", "live"}
    assert [alias.name for alias in found.aliases] == ["live"]
    assert {version.version for version in found.versions} == {"1", "2", "3"}
    assert await rules.scales(function_id("nobody")) == Scales()


async def test_listing_goes_on_where_it_was(rules):
    await rules.put(replace(RULE, qualifier="3", provisioned=None, min_instances=1))
    for qualifier in ("1", "2", "live"):
        await rules.put(replace(RULE, qualifier=qualifier))
    first = await rules.list_provisioned(FUNCTION, marker=None, limit=2)
    rest = await rules.list_provisioned(FUNCTION, marker=first.marker, limit=2)
    assert [rule.qualifier for rule in first.items] == ["1", "2"]
    assert [rule.qualifier for rule in rest.items] == ["live"]
    assert rest.marker is None


async def test_rules_end_with_what_they_are_of(rules, functions):
    for qualifier in (LATEST, "1", "live"):
        await rules.put(replace(RULE, qualifier=qualifier))
    await functions.delete_alias(FUNCTION, "live")
    await functions.delete_version(FUNCTION, "1")
    assert [rule.qualifier for rule in (await rules.scales(FUNCTION)).rules] == [LATEST]
    await functions.delete_function(FUNCTION)
    assert await rules.functions() == []


async def test_who_has_rules_is_known(rules, functions):
    assert await rules.functions() == []
    await functions.create(a_version(function_id("g")), {})
    await rules.put(RULE)
    await rules.put(replace(RULE, qualifier="2"))
    await rules.put(replace(RULE, function=function_id("g"), qualifier=LATEST))
    assert sorted(function.name for function in await rules.functions()) == ["f", "g"]


async def test_the_versions_of_a_capacity_provider_are_listed(rules, functions):
    for name in ("a", "b"):
        managed = a_version(function_id(name), capacity_provider=CapacityProvider(PROVIDER, 8))
        await functions.create(managed, {})
    await publish(functions, 1, function_id("a"))
    first = await rules.list_versions_of(PROVIDER, marker=None, limit=2)
    rest = await rules.list_versions_of(PROVIDER, marker=first.marker, limit=2)
    names = [(version.id.name, version.version) for version in (*first.items, *rest.items)]
    assert names == [("a", LATEST), ("a", "1"), ("b", LATEST)]
    assert rest.marker is None
    assert not (await rules.list_versions_of(PROVIDER + "2", marker=None, limit=2)).items


async def test_what_is_provisioned_is_added_up(rules, functions):
    assert await rules.provisioned() == {}
    await rules.put(replace(RULE, qualifier=LATEST, provisioned=None, min_instances=9))
    for qualifier, count in (("1", 3), ("live", 4)):
        await rules.put(replace(RULE, qualifier=qualifier, provisioned=count))
    assert await rules.provisioned() == {FUNCTION: 7}
