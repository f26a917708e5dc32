"""What every `FunctionStore` does: functions and their versions."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import (
    LATEST,
    CapacityProvider,
    CodeRef,
    FunctionId,
    FunctionVersion,
    LayerRef,
    State,
    UpdateStatus,
)
from samovar.ports import FunctionStore
from tests.contract.samples import a_version, an_alias, function_id, numbered, publish

ARN = "arn:aws:lambda:us-east-1:000000000000:function:f"


async def versions_of(store: FunctionStore, function: FunctionId | None = None) -> list[str]:
    page = await store.list_versions(function or function_id(), marker=None, limit=100)
    return [version.version for version in page.items]


# ---------------------------------------------------------------- create, get


async def test_a_created_function_is_there(store: FunctionStore) -> None:
    await store.create(a_version(environment={"A": "b"}), {"team": "tea"})
    assert await store.get(function_id(), LATEST) == a_version(environment={"A": "b"})
    record = await store.record(function_id())
    assert (record.id, record.reserved_concurrency) == (function_id(), None)
    assert record.tags == {"team": "tea"}


async def test_of_two_creates_of_one_name_at_once_exactly_one_wins(store: FunctionStore) -> None:
    attempts = [store.create(a_version(revision_id=str(n)), {}) for n in range(8)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    lost = [result for result in results if result is not None]
    assert len(lost) == 7
    for error in lost:
        assert isinstance(error, PlatformError)
        assert error.code is ErrorCode.CONFLICT
        assert error.message == "Function already exist: f"
    assert (await store.get(function_id(), LATEST)).revision_id == str(results.index(None))


async def test_names_are_apart_by_account_region_and_case(store: FunctionStore) -> None:
    ids = [
        function_id(),
        function_id("F"),
        function_id(account="111111111111"),
        function_id(region="eu-north-1"),
    ]
    for n, function in enumerate(ids):
        await store.create(a_version(function, memory_mib=128 + n), {})
    found = [(await store.get(function, LATEST)).memory_mib for function in ids]
    assert found == [128, 129, 130, 131]


@pytest.mark.parametrize(
    ("version", "arn"),
    [
        (LATEST, ARN),
        ("1", f"{ARN}:1"),
        ("99999999999999999999", f"{ARN}:99999999999999999999"),
        ("01", f"{ARN}:01"),
        ("live", f"{ARN}:live"),
        ("٣", f"{ARN}:٣"),
        ("", f"{ARN}:"),
    ],
)
async def test_what_is_not_there_is_named_in_awss_words(
    version: str, arn: str, store: FunctionStore
) -> None:
    if version != LATEST:
        await store.create(a_version(), {})
    with pytest.raises(PlatformError) as refused:
        await store.get(function_id(), version)
    assert refused.value == PlatformError(ErrorCode.NOT_FOUND, f"Function not found: {arn}")


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.record(function_id()),
        lambda store: store.list_versions(function_id(), marker=None, limit=10),
        lambda store: store.list_aliases(function_id(), version=None, marker=None, limit=10),
        lambda store: store.publish(function_id(), numbered),
        lambda store: store.delete_function(function_id()),
        lambda store: store.delete_version(function_id(), "1"),
        lambda store: store.replace(a_version(), expected_revision_id="r1"),
        lambda store: store.set_reserved_concurrency(function_id(), 1),
    ],
)
async def test_nothing_can_be_done_to_a_function_that_is_not_there(
    act: Callable[[FunctionStore], asyncio.Future[object]], store: FunctionStore
) -> None:
    with pytest.raises(PlatformError) as refused:
        await act(store)
    assert refused.value == PlatformError(ErrorCode.NOT_FOUND, f"Function not found: {ARN}")


TEXTS = st.text(max_size=50)
# Fixed offsets: in the gaps and folds of a zone with a summer time, no two zones agree (PEP 495).
OFFSETS = st.integers(-14 * 60, 14 * 60).map(
    lambda minutes: dt.timezone(dt.timedelta(minutes=minutes))
)
INSTANTS = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2100, 1, 1), timezones=OFFSETS)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
CODE = st.builds(CodeRef, DIGESTS, st.integers(0, 2**40), st.integers(0, 2**28))
ANY_VERSION = st.builds(
    FunctionVersion,
    id=st.just(function_id()),
    version=st.just(LATEST),
    revision_id=st.uuids().map(str),
    runtime=TEXTS,
    handler=TEXTS,
    role=TEXTS,
    code=CODE,
    last_modified=INSTANTS,
    description=TEXTS,
    memory_mib=st.integers(128, 10240),
    timeout_s=st.integers(1, 900),
    ephemeral_storage_mib=st.integers(512, 10240),
    environment=st.dictionaries(TEXTS, TEXTS, max_size=5),
    architecture=TEXTS,
    tenant_isolation=st.booleans(),
    layers=st.lists(st.builds(LayerRef, TEXTS, CODE), max_size=5).map(tuple),
    dead_letter_arn=st.none() | TEXTS,
    snap_start=st.booleans(),
    capacity_provider=st.none()
    | st.builds(
        CapacityProvider,
        arn=TEXTS,
        max_concurrency=st.integers(1, 1600),
        memory_gib_per_vcpu=st.none() | st.floats(2, 8),
    ),
    state=st.sampled_from(State),
    state_reason=st.none() | TEXTS,
    state_reason_code=st.none() | TEXTS,
    last_update_status=st.sampled_from(UpdateStatus),
    last_update_reason=st.none() | TEXTS,
    last_update_reason_code=st.none() | TEXTS,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(version=ANY_VERSION)
def test_every_field_of_a_version_comes_back_as_it_went(
    version: FunctionVersion, run_with_store: Callable[..., None]
) -> None:
    async def there_and_back(store: FunctionStore) -> None:
        await store.create(version, {})
        found = await store.get(function_id(), LATEST)
        await store.delete_function(function_id())
        assert found == version
        assert found.last_modified.utcoffset() == dt.timedelta(0)

    run_with_store(there_and_back)


def test_the_property_above_varies_every_field() -> None:
    fields = {field.name for field in dataclasses.fields(FunctionVersion)}
    assert set(ANY_VERSION.wrapped_strategy.kwargs) == fields  # type: ignore[attr-defined]


async def test_a_time_without_a_zone_is_refused(store: FunctionStore) -> None:
    naive = dt.datetime(2026, 1, 1)
    with pytest.raises(Exception, match="naive"):
        await store.create(a_version(last_modified=naive), {})


# ---------------------------------------------------------------- replace


async def test_a_replaced_version_is_the_new_one(store: FunctionStore) -> None:
    await store.create(a_version(), {})
    changed = a_version(revision_id="r2", memory_mib=512, state=State.ACTIVE)
    await store.replace(changed, expected_revision_id="r1")
    assert await store.get(function_id(), LATEST) == changed


async def test_of_two_updates_of_one_revision_exactly_one_wins(store: FunctionStore) -> None:
    await store.create(a_version(), {})
    attempts = [
        store.replace(a_version(revision_id=f"new{n}"), expected_revision_id="r1") for n in range(6)
    ]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert results.count(None) == 1
    lost = [result for result in results if isinstance(result, PlatformError)]
    assert {error.code for error in lost} == {ErrorCode.PRECONDITION_FAILED}
    assert "Revision Id provided does not match" in lost[0].message
    assert (await store.get(function_id(), LATEST)).revision_id == f"new{results.index(None)}"


async def test_a_published_version_has_its_own_state(store: FunctionStore) -> None:
    await store.create(a_version(state=State.ACTIVE), {})
    await publish(store)
    await store.replace(
        a_version(version="1", revision_id="v1b", state=State.FAILED), expected_revision_id="v1"
    )
    assert (await store.get(function_id(), "1")).state is State.FAILED
    assert (await store.get(function_id(), LATEST)).state is State.ACTIVE


# ---------------------------------------------------------------- publish, delete


async def test_publishing_at_once_gives_each_its_own_number(store: FunctionStore) -> None:
    await store.create(a_version(), {})
    made = await asyncio.gather(*(store.publish(function_id(), numbered) for _ in range(6)))
    assert sorted(version.version for version in made) == list("123456")


async def test_publishing_what_has_not_changed_adds_nothing(store: FunctionStore) -> None:
    await store.create(a_version(), {})
    await publish(store)
    seen: list[tuple[str, str | None, int]] = []

    def unchanged(
        latest: FunctionVersion, newest: FunctionVersion | None, number: int
    ) -> FunctionVersion:
        seen.append((latest.version, newest and newest.version, number))
        assert newest is not None
        return newest

    assert (await store.publish(function_id(), unchanged)).version == "1"
    await publish(store)
    assert seen == [(LATEST, "1", 2)]
    assert await versions_of(store) == [LATEST, "1", "2"]


async def test_a_number_is_never_given_twice(store: FunctionStore) -> None:
    await store.create(a_version(), {})
    await publish(store, 3)
    await store.delete_version(function_id(), "3")
    await publish(store)
    assert await versions_of(store) == [LATEST, "1", "2", "4"]


async def test_a_builder_that_refuses_leaves_nothing(store: FunctionStore) -> None:
    await store.create(a_version(), {})

    def refuse(*_: object) -> FunctionVersion:
        raise PlatformError(ErrorCode.PRECONDITION_FAILED, "no")

    with pytest.raises(PlatformError, match="no"):
        await store.publish(function_id(), refuse)
    await publish(store)
    assert await versions_of(store) == [LATEST, "1"]


async def test_deleting_a_function_takes_everything_of_it_with_it(store: FunctionStore) -> None:
    await store.create(a_version(), {"a": "b"})
    await publish(store, 2)
    await store.create_alias(an_alias(routing={"2": 0.1}))
    await store.set_reserved_concurrency(function_id(), 5)
    await store.delete_function(function_id())
    assert await store.reserved_concurrencies() == {}
    assert await store.code_in_use() == frozenset()

    await store.create(a_version(), {})
    assert await versions_of(store) == [LATEST]
    assert (await store.list_aliases(function_id(), version=None, marker=None, limit=9)).items == []
    record = await store.record(function_id())
    assert (record.tags, record.reserved_concurrency) == ({}, None)


@pytest.mark.parametrize("version", ["7", "live", "007"])
async def test_deleting_a_version_that_is_not_there_is_no_error(
    version: str, store: FunctionStore
) -> None:
    await store.create(a_version(), {})
    await store.delete_version(function_id(), version)
    assert await versions_of(store) == [LATEST]


async def test_latest_goes_only_with_its_function(store: FunctionStore) -> None:
    await store.create(a_version(), {})
    with pytest.raises(PlatformError) as refused:
        await store.delete_version(function_id(), LATEST)
    assert refused.value.code is ErrorCode.INVALID_PARAMETER


# ---------------------------------------------------------------- concurrency, start-up


async def test_reserved_concurrency_is_set_and_removed(store: FunctionStore) -> None:
    await store.create(a_version(), {})
    await store.create(a_version(function_id("g")), {})
    await store.set_reserved_concurrency(function_id(), 0)
    await store.set_reserved_concurrency(function_id("g"), 7)
    assert await store.reserved_concurrencies() == {function_id(): 0, function_id("g"): 7}
    assert (await store.record(function_id())).reserved_concurrency == 0
    await store.set_reserved_concurrency(function_id(), None)
    assert await store.reserved_concurrencies() == {function_id("g"): 7}


async def test_what_was_under_way_is_found_again_at_start_up(store: FunctionStore) -> None:
    ready = {"state": State.ACTIVE, "last_update_status": UpdateStatus.SUCCESSFUL}
    for name, changes in {
        "ready": {},
        "new": {"state": State.PENDING},
        "updating": {"last_update_status": UpdateStatus.IN_PROGRESS},
        "failed": {"state": State.FAILED, "last_update_status": UpdateStatus.FAILED},
    }.items():
        await store.create(a_version(function_id(name), **{**ready, **changes}), {})
    assert {version.id.name for version in await store.pending()} == {"new", "updating"}


async def test_code_is_in_use_while_any_version_refers_to_it(store: FunctionStore) -> None:
    old, new = CodeRef("0" * 64, 1), CodeRef("1" * 64, 1)
    await store.create(a_version(code=old), {})
    await publish(store)
    await store.replace(a_version(code=new, revision_id="r2"), expected_revision_id="r1")
    assert await store.code_in_use() == {old.sha256_hex, new.sha256_hex}
    await store.delete_version(function_id(), "1")
    assert await store.code_in_use() == {new.sha256_hex}


async def test_layers_are_in_use_while_any_version_refers_to_them(store: FunctionStore) -> None:
    code, layer = CodeRef("0" * 64, 1), LayerRef("arn", CodeRef("1" * 64, 1))
    await store.create(a_version(code=code, layers=(layer, layer)), {})
    await publish(store)
    await store.replace(a_version(code=code, revision_id="r2"), expected_revision_id="r1")
    assert await store.code_in_use() == {"0" * 64, "1" * 64}
    await store.delete_version(function_id(), "1")
    assert await store.code_in_use() == {"0" * 64}


async def test_runtimes_are_in_use_while_any_version_has_them(store: FunctionStore) -> None:
    await store.create(a_version(runtime="python3.11"), {})
    await store.create(a_version(function_id("g"), runtime="python3.12"), {})
    await store.create(a_version(function_id("h"), runtime="python3.12"), {})
    assert await store.runtimes_in_use() == {"python3.11", "python3.12"}
