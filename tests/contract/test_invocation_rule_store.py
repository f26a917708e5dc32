"""What every `InvocationRuleStore` does."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from msgspec import structs

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_invoke_config import EventInvokeConfig
from samovar.model.function import LATEST, Alias
from samovar.store.database import Database
from samovar.store.functions import SqlFunctionStore
from samovar.store.invocation_rules import SqlInvocationRuleStore
from tests.contract.samples import a_version, function_id

FUNCTION = function_id()
CONFIG = EventInvokeConfig(
    function=FUNCTION,
    qualifier=LATEST,
    last_modified=dt.datetime(2026, 11, 23, tzinfo=dt.UTC),
    max_retries=0,
    max_age_s=60,
    on_success_arn="arn:aws:sqs:us-east-1:000000000000:q",
    on_failure_arn="arn:aws:s3:::b",
)


@pytest.fixture
async def functions(database: Database) -> SqlFunctionStore:
    """With one function that has a version and an alias."""
    store = SqlFunctionStore(database)
    await store.create(a_version(), {})
    await store.publish(FUNCTION, lambda latest, _, n: replace(latest, version=str(n)))
    await store.create_alias(Alias(FUNCTION, "live", "1", "r"))
    return store


@pytest.fixture
def rules(database: Database, functions: SqlFunctionStore) -> SqlInvocationRuleStore:
    return SqlInvocationRuleStore(database)


async def put(rules: SqlInvocationRuleStore, qualifier: str = LATEST) -> EventInvokeConfig:
    config = structs.replace(CONFIG, qualifier=qualifier)
    return await rules.change(FUNCTION, qualifier, lambda _: config)


async def qualifiers(rules: SqlInvocationRuleStore) -> list[str]:
    page = await rules.list_configs(FUNCTION, marker=None, limit=10)
    return [config.qualifier for config in page.items]


async def test_a_config_comes_back_as_it_went(rules):
    assert await rules.get(FUNCTION, LATEST) is None
    assert await put(rules) == CONFIG
    assert await rules.get(FUNCTION, LATEST) == CONFIG


async def test_a_change_is_given_what_is_there(rules):
    await put(rules)
    longer = structs.replace(CONFIG, max_age_s=120)

    def change(before):
        assert before == CONFIG
        return longer

    assert await rules.change(FUNCTION, LATEST, change) == longer
    assert await rules.get(FUNCTION, LATEST) == longer


async def test_what_a_change_raises_undoes_it(rules):
    await put(rules)

    def change(_):
        raise PlatformError(ErrorCode.INVALID_PARAMETER, "no")

    with pytest.raises(PlatformError, match="no"):
        await rules.change(FUNCTION, LATEST, change)
    assert await rules.get(FUNCTION, LATEST) == CONFIG


@pytest.mark.parametrize("qualifier", ["2", "007", "dead"])
async def test_only_what_is_there_has_a_config(rules, qualifier):
    with pytest.raises(PlatformError) as refused:
        await put(rules, qualifier)
    assert refused.value.code is ErrorCode.NOT_FOUND


async def test_a_function_that_is_not_there_has_nothing(rules):
    nobody = function_id("nobody")
    assert await rules.get(nobody, LATEST) is None
    for refused in (
        rules.change(nobody, LATEST, lambda _: CONFIG),
        rules.delete(nobody, LATEST),
        rules.list_configs(nobody, marker=None, limit=1),
        rules.loops_allowed(nobody),
        rules.allow_loops(nobody, True),
    ):
        with pytest.raises(PlatformError) as error:
            await refused
        assert error.value.code is ErrorCode.NOT_FOUND


async def test_listing_goes_on_where_it_was(rules):
    for qualifier in (LATEST, "1", "live"):
        await put(rules, qualifier)
    first = await rules.list_configs(FUNCTION, marker=None, limit=2)
    rest = await rules.list_configs(FUNCTION, marker=first.marker, limit=2)
    assert [config.qualifier for config in first.items] == [LATEST, "1"]
    assert [config.qualifier for config in rest.items] == ["live"]
    assert rest.marker is None


async def test_configs_end_with_what_they_are_of(rules, functions):
    for qualifier in (LATEST, "1", "live"):
        await put(rules, qualifier)
    await functions.delete_alias(FUNCTION, "live")
    assert await qualifiers(rules) == [LATEST, "1"]
    await functions.delete_version(FUNCTION, "1")
    assert await qualifiers(rules) == [LATEST]
    assert await rules.delete(FUNCTION, LATEST)
    assert not await rules.delete(FUNCTION, LATEST)
    await put(rules)
    await functions.delete_function(FUNCTION)
    assert await rules.get(FUNCTION, LATEST) is None


async def test_loops_are_not_allowed_unless_somebody_says_so(rules):
    assert not await rules.loops_allowed(FUNCTION)
    await rules.allow_loops(FUNCTION, True)
    assert await rules.loops_allowed(FUNCTION)
    await rules.allow_loops(FUNCTION, False)
    assert not await rules.loops_allowed(FUNCTION)
