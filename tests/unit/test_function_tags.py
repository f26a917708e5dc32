"""Tags of functions, and those that tune the manager."""

from __future__ import annotations

import asyncio

import pytest

from samovar.frontend.function_tags import MAX_TAGS, FunctionTags, check_tags
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.tuning import KEEP_ALIVE, SOFT_CONCURRENCY, Tuning, tuning_of
from samovar.store.database import Database
from samovar.store.functions import SqlFunctionStore
from samovar.store.tags import SqlTagStore
from tests.contract.samples import a_version, function_id

F = function_id()


class Tuned:
    """The part of the `Manager` port that tags use."""

    def __init__(self) -> None:
        self.tunings: list[Tuning] = []

    def tune(self, function, tuning):
        assert function == F
        self.tunings.append(tuning)


@pytest.fixture
async def stores(tmp_path):
    database = await Database.open(tmp_path / "state.db")
    yield SqlFunctionStore(database), SqlTagStore(database)
    await database.close()


@pytest.mark.parametrize(
    ("tags", "tuning"),
    [
        ({}, Tuning()),
        ({"team": "tea", "samovar": "hot"}, Tuning()),
        ({KEEP_ALIVE: "histogram"}, Tuning(keep_alive="histogram")),
        ({SOFT_CONCURRENCY: "1", KEEP_ALIVE: "fixed"}, Tuning("fixed", 1)),
        ({SOFT_CONCURRENCY: "256"}, Tuning(None, 256)),
    ],
)
def test_tags_tune(tags, tuning):
    check_tags(tags)
    assert tuning_of(tags) == tuning


@pytest.mark.parametrize(
    "tags",
    [
        {KEEP_ALIVE: ""},
        {KEEP_ALIVE: "for ever"},
        {KEEP_ALIVE: "Fixed"},
        {SOFT_CONCURRENCY: ""},
        {SOFT_CONCURRENCY: "0"},
        {SOFT_CONCURRENCY: "257"},
        {SOFT_CONCURRENCY: "-1"},
        {SOFT_CONCURRENCY: "1.5"},
        {SOFT_CONCURRENCY: "٣"},
        {SOFT_CONCURRENCY: "9" * 256},
        {"samovar:": "1"},
        {"samovar:keepalive": "fixed"},
        {"aws:cloudformation:stack-name": "s"},
        {"AWS:x": "s"},
        {str(number): "" for number in range(MAX_TAGS + 1)},
    ],
    ids=range(15),
)
def test_tags_that_would_not_be_kept_to_are_refused(tags):
    with pytest.raises(PlatformError) as refused:
        check_tags(tags)
    assert refused.value.code is ErrorCode.INVALID_PARAMETER


async def test_the_manager_is_told_of_changes_and_of_nothing_else(stores):
    functions, tags = stores
    manager = Tuned()
    told = FunctionTags(tags, manager)
    await functions.create(a_version(), {KEEP_ALIVE: "fixed"})
    await told.follow(F)
    await told.change(F, lambda before: {**before, "team": "tea"})
    await told.change(F, lambda before: {**before, SOFT_CONCURRENCY: "3"})
    await functions.delete_function(F)
    await told.follow(F)
    await told.follow(F)
    assert manager.tunings == [Tuning("fixed"), Tuning("fixed", 3), Tuning()]


async def test_tags_are_in_force_after_a_restart_where_they_are_understood(stores):
    functions, tags = stores
    await functions.create(a_version(), {KEEP_ALIVE: "histogram"})
    await functions.create(a_version(function_id("odd")), {"samovar:color": "red"})
    manager = Tuned()
    await FunctionTags(tags, manager).restore()
    assert manager.tunings == [Tuning("histogram")]


async def test_changes_at_once_leave_in_force_what_is_kept(stores):
    functions, tags = stores
    await functions.create(a_version(), {})
    manager = Tuned()
    told = FunctionTags(tags, manager)
    async with asyncio.TaskGroup() as tasks:
        for number in range(1, 8):
            soft = {SOFT_CONCURRENCY: str(number)}
            tasks.create_task(told.change(F, lambda before, soft=soft: {**before, **soft}))
    assert manager.tunings[-1] == tuning_of(await tags.tags(F))
