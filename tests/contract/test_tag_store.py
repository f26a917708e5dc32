"""What every `TagStore` does."""

from __future__ import annotations

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.store.database import Database
from samovar.store.functions import SqlFunctionStore
from samovar.store.tags import SqlTagStore
from tests.contract.samples import a_version, function_id

FUNCTION = function_id()


@pytest.fixture
async def tags(database: Database) -> SqlTagStore:
    await SqlFunctionStore(database).create(a_version(), {"team": "tea"})
    return SqlTagStore(database)


async def test_a_change_is_given_what_is_there_and_returns_what_is_then(tags):
    changed = await tags.change_tags(FUNCTION, lambda before: {**before, "ключ": "ä"})
    assert changed == {"team": "tea", "ключ": "ä"} == await tags.tags(FUNCTION)


async def test_what_a_change_raises_undoes_it(tags):
    def change(_):
        raise PlatformError(ErrorCode.INVALID_PARAMETER, "no")

    with pytest.raises(PlatformError, match="no"):
        await tags.change_tags(FUNCTION, change)
    assert await tags.tags(FUNCTION) == {"team": "tea"}


async def test_a_function_that_is_not_there_has_no_tags(tags):
    nobody = function_id("nobody")
    for refused in (tags.tags(nobody), tags.change_tags(nobody, dict)):
        with pytest.raises(PlatformError) as error:
            await refused
        assert error.value.code is ErrorCode.NOT_FOUND


async def test_functions_are_found_by_the_beginning_of_a_key(tags, database):
    store = SqlFunctionStore(database)
    await store.create(a_version(function_id("tuned")), {"x_y:z": "1"})
    await store.create(a_version(function_id("quoting")), {"k": '"x_y:', "x-y:z": "1"})
    assert await tags.tagged("x_y:") == {function_id("tuned"): {"x_y:z": "1"}}
