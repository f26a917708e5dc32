"""The contract of the store of event source mappings: every database passes it."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import structs

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_source import EventSourceMapping, MappingState, SourceAccess, SourceKind
from samovar.model.function import FunctionId
from samovar.ports import EventSourceStore
from samovar.store.database import Database
from samovar.store.event_sources import SqlEventSourceStore
from samovar.store.schema import event_sources
from tests.contract.samples import ACCOUNT, REGION

MADE = dt.datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=dt.UTC)


@pytest.fixture
def store(database: Database) -> EventSourceStore:
    return SqlEventSourceStore(database, max_mappings=6)


def mapping(name: str = "f", source: str = "q", **settings: Any) -> EventSourceMapping:
    given: dict[str, Any] = {
        "uuid": str(uuid.uuid4()),
        "kind": SourceKind.SQS,
        "function": FunctionId(ACCOUNT, REGION, name),
        "state": MappingState.CREATING,
        "last_modified": MADE,
        "source_arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{source}",
        "batch_size": 10,
    }
    return EventSourceMapping(**given | settings)


async def listed(store: EventSourceStore, **choice: Any) -> set[str]:
    found, marker = set[str](), None
    given = {"source_arn": None, "function": None, "qualifier": None, "limit": 2} | choice
    while True:
        page = await store.list_mappings(ACCOUNT, REGION, marker=marker, **given)
        assert len(page.items) <= given["limit"]
        found |= {each.uuid for each in page.items}
        marker = page.marker
        if marker is None:
            return found


async def test_a_mapping_comes_back_as_it_went_in(store):
    whole = mapping(
        kind=SourceKind.KAFKA,
        source_arn=None,
        qualifier="live",
        bootstrap_servers=("a:9092", "b:9092"),
        topics=("t",),
        queues=("q",),
        consumer_group_id="g",
        access=(SourceAccess("BASIC_AUTH", "arn:aws:secretsmanager:…"),),
        starting_position="AT_TIMESTAMP",
        starting_timestamp=MADE,
        window_s=3,
        filters=('{"a":[1]}',),
        parallelization=2,
        max_concurrency=5,
        partial_failures=True,
        bisect=True,
        max_retries=-1,
        max_record_age_s=60,
        on_failure_arn="arn:aws:sqs:us-east-1:1:q",
    )
    await store.create(whole)
    assert await store.get(whole.uuid) == whole
    assert await store.all_mappings() == [whole]


async def test_what_is_not_there_is_not_found(store):
    for ask in (
        store.get("x"),
        store.change("x", lambda each: each),
        store.save_position("x", "s", 1),
    ):
        with pytest.raises(PlatformError) as refused:
            await ask
        assert refused.value.code is ErrorCode.NOT_FOUND
    await store.remove("x")
    await store.forget_position("x", "s")
    assert await store.positions("x") == {}


async def test_a_second_one_that_feeds_the_same_is_refused(store):
    first = mapping()
    await store.create(first)
    with pytest.raises(PlatformError, match=first.uuid) as refused:
        await store.create(mapping())
    assert refused.value.code is ErrorCode.CONFLICT
    await store.create(mapping(qualifier="live"))
    await store.create(mapping(source="r"))
    await store.create(mapping(name="g"))


async def test_brokers_are_the_same_with_the_same_servers_and_topics(store):
    kafka = {"kind": SourceKind.KAFKA, "source_arn": None}
    await store.create(mapping(**kafka, bootstrap_servers=("a", "b"), topics=("t",)))
    await store.create(mapping(**kafka, bootstrap_servers=("a", "b"), topics=("u",)))
    with pytest.raises(PlatformError):
        await store.create(mapping(**kafka, bootstrap_servers=("b", "a"), topics=("t",)))


async def test_two_at_once_are_not_both_made(store):
    made = await asyncio.gather(
        *(store.create(mapping()) for _ in range(5)), return_exceptions=True
    )
    assert made.count(None) == 1


async def test_a_change_is_kept_or_undone(store):
    first, other = mapping(), mapping(name="g")
    await store.create(first)
    await store.create(other)
    changed = await store.change(first.uuid, lambda each: structs.replace(each, batch_size=3))
    assert changed.batch_size == 3
    assert await store.get(first.uuid) == changed
    with pytest.raises(PlatformError):
        await store.change(first.uuid, lambda each: structs.replace(each, function=other.function))
    with pytest.raises(ZeroDivisionError):
        await store.change(first.uuid, lambda _: 1 // 0)
    assert await store.get(first.uuid) == changed


async def test_changes_at_once_all_count(store):
    made = mapping()
    await store.create(made)
    more = lambda each: structs.replace(each, revision=each.revision + 1)  # noqa: E731
    await asyncio.gather(*(store.change(made.uuid, more) for _ in range(10)))
    assert (await store.get(made.uuid)).revision == 11


async def test_mappings_are_listed_by_what_they_feed_and_from_where(store):
    one, two = mapping(), mapping(qualifier="live")
    three = mapping(name="g", source="r")
    for each in (one, two, three, mapping(function=FunctionId("999999999999", REGION, "f"))):
        await store.create(each)
    assert await listed(store) == {one.uuid, two.uuid, three.uuid}
    assert await listed(store, function=one.function) == {one.uuid, two.uuid}
    assert await listed(store, function=one.function, qualifier="live") == {two.uuid}
    assert await listed(store, source_arn=three.source_arn) == {three.uuid}


async def test_positions_are_kept_for_each_shard_and_go_with_their_mapping(store):
    made = mapping()
    await store.create(made)
    await store.save_position(made.uuid, "a", {"after": "1"})
    await store.save_position(made.uuid, "b", [2])
    await store.save_position(made.uuid, "a", {"after": "3"})
    assert await store.positions(made.uuid) == {"a": {"after": "3"}, "b": [2]}
    await store.forget_position(made.uuid, "b")
    assert await store.positions(made.uuid) == {"a": {"after": "3"}}
    await store.remove(made.uuid)
    assert await store.positions(made.uuid) == {}
    with pytest.raises(PlatformError):
        await store.save_position(made.uuid, "a", 1)


async def test_there_are_no_more_than_there_may_be(store):
    for number in range(6):
        await store.create(mapping(source=str(number)))
    with pytest.raises(PlatformError, match="SAMOVAR_MAX_EVENT_SOURCES") as refused:
        await store.create(mapping())
    assert refused.value.code is ErrorCode.INVALID_PARAMETER


async def test_a_mapping_that_cannot_be_read_keeps_no_other_from_working(store, database):
    good, bad = mapping(), mapping(name="g")
    await store.create(good)
    await store.create(bad)
    async with database.write() as connection:
        await connection.execute(
            sa.update(event_sources)
            .where(event_sources.c.uuid == bad.uuid)
            .values(config={"of": "another release"})
        )
    assert await store.all_mappings() == [good]
