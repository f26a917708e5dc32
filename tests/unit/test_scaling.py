"""What is in force is what is kept: scales, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace
from types import SimpleNamespace

import pytest

from samovar.frontend.scaling import Scaling
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import State
from samovar.model.scale import Provisioned, ProvisionedStatus, Scale, ScaleRule
from samovar.store.database import Database
from samovar.store.functions import SqlFunctionStore
from samovar.store.scale_rules import SqlScaleStore
from tests.contract.samples import a_version, an_alias, function_id, publish

F = function_id()
THEN = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


class Limited:
    """The part of the `Manager` port that scaling uses, with room for so much."""

    def __init__(self, room: int = 10) -> None:
        self.room = room
        self.scales: dict[str, Scale] = {}
        self.told: list[tuple[str, int]] = []

    def set_scale(self, version, scale):
        name = f"{version.version}@{version.revision_id}"
        others = sum(s.provisioned for key, s in self.scales.items() if key != name)
        if others + scale.provisioned > self.room:
            raise PlatformError(ErrorCode.INVALID_PARAMETER, "no room")
        self.told.append((version.version, scale.provisioned))
        self.scales[name] = scale
        if scale == Scale():
            del self.scales[name]

    def provisioned(self, version):
        count = self.scales[f"{version.version}@{version.revision_id}"].provisioned
        return Provisioned(count, count, count, ProvisionedStatus.READY)

    @property
    def counts(self):
        return {name.partition("@")[0]: s.provisioned for name, s in self.scales.items()}


@pytest.fixture
async def platform(tmp_path):
    """Stores with a function of three versions, an alias of the first, and a manager."""
    database = await Database.open(tmp_path / "state.db")
    functions, rules, manager = SqlFunctionStore(database), SqlScaleStore(database), Limited()
    await functions.create(a_version(state=State.ACTIVE), {})
    await publish(functions, 3)
    await functions.create_alias(an_alias())
    yield SimpleNamespace(
        functions=functions,
        rules=rules,
        manager=manager,
        scaling=Scaling(rules, functions, manager),
    )
    await database.close()


def rule(qualifier, provisioned):
    return ScaleRule(F, qualifier, THEN, provisioned=provisioned)


async def move(platform, **changes):
    """Have the alias be that, as the API does it."""
    alias = replace(an_alias(), **changes)
    await platform.functions.replace_alias(alias, expected_revision_id=alias.revision_id)
    await platform.scaling.follow(F)


async def test_a_rule_is_in_force_and_kept(platform):
    await platform.scaling.put(rule("1", 3))
    assert platform.manager.counts == {"1": 3}
    assert await platform.rules.get(F, "1") == rule("1", 3)
    assert (await platform.scaling.progress(rule("1", 3))).allocated == 3


async def test_what_the_manager_refuses_is_not_kept_and_what_was_stays(platform):
    await platform.scaling.put(rule("1", 3))
    with pytest.raises(PlatformError, match="no room"):
        await platform.scaling.put(rule("1", 11))
    assert platform.manager.counts == {"1": 3}
    assert (await platform.rules.get(F, "1")).provisioned == 3


async def test_what_cannot_be_kept_is_not_in_force(platform):
    await platform.scaling.put(rule("1", 3))
    scaling = platform.scaling
    scaling.rules = SimpleNamespace(scales=platform.rules.scales, put=_fail)
    for wanted in (rule("1", 5), rule("live", 1), rule("2", 1)):
        with pytest.raises((OSError, PlatformError)):
            await scaling.put(wanted)
        assert platform.manager.counts == {"1": 3}


async def _fail(_):
    raise OSError("the disk is full")


async def test_an_alias_takes_its_provisioned_concurrency_along(platform):
    await platform.scaling.put(rule("live", 4))
    await move(platform, version="2")
    assert platform.manager.counts == {"2": 4}
    assert platform.manager.told == [("1", 4), ("2", 4), ("1", 0)]  # the new before the old


async def test_where_there_is_no_room_for_both_the_old_goes_first(platform):
    await platform.scaling.put(rule("live", 8))
    await move(platform, version="2")
    assert platform.manager.counts == {"2": 8}
    assert platform.manager.told == [("1", 8), ("1", 0), ("2", 8)]


async def test_weights_share_it_out(platform):
    await platform.scaling.put(rule("live", 8))
    await move(platform, routing={"3": 0.25})
    assert platform.manager.counts == {"1": 6, "3": 2}
    progress = await platform.scaling.progress(rule("live", 8))
    assert (progress.allocated, progress.status) == (8, ProvisionedStatus.READY)
    await move(platform, version="3", routing={})
    assert platform.manager.counts == {"3": 8}


async def test_an_alias_cannot_move_to_what_is_provisioned_already(platform):
    await platform.scaling.put(rule("live", 1))
    await platform.scaling.put(rule("2", 1))
    there = await platform.functions.get(F, "2")
    with pytest.raises(PlatformError) as refused:
        await platform.scaling.check_alias(an_alias(version="2"), [there])
    assert refused.value.code is ErrorCode.CONFLICT


async def test_what_is_deleted_is_let_go(platform):
    await platform.scaling.put(rule("live", 1))
    await platform.scaling.put(rule("2", 1))
    await platform.functions.delete_alias(F, "live")
    await platform.scaling.follow(F)
    assert platform.manager.counts == {"2": 1}
    await platform.functions.delete_function(F)
    await platform.scaling.follow(F)
    assert platform.manager.counts == {}


async def test_all_of_it_is_in_force_after_a_restart_as_far_as_limits_allow(platform):
    await platform.scaling.put(rule("live", 4))
    await platform.scaling.put(rule("2", 4))
    smaller = Limited(room=6)
    scaling = Scaling(platform.rules, platform.functions, smaller)
    await scaling.restore()
    assert sorted(smaller.counts.values()) == [4]
    told = [await scaling.progress(wanted) for wanted in (rule("live", 4), rule("2", 4))]
    statuses = {progress.status: progress.reason for progress in told}
    assert statuses == {ProvisionedStatus.READY: None, ProvisionedStatus.FAILED: "no room"}
    smaller.room = 10
    await scaling.follow(F)
    assert smaller.counts == {"1": 4, "2": 4}


async def restarted_with_less_room(platform):
    """A server on which the rule of version 1 is refused that an earlier one kept to."""
    await platform.scaling.put(rule("1", 8))
    smaller = Limited(room=5)
    scaling = Scaling(platform.rules, platform.functions, smaller)
    await scaling.restore()
    assert smaller.counts == {}
    return scaling, smaller


async def test_a_rule_that_fits_is_not_refused_for_the_sake_of_one_that_does_not(platform):
    scaling, smaller = await restarted_with_less_room(platform)
    await scaling.put(rule("2", 1))
    assert smaller.counts == {"2": 1}
    assert (await scaling.progress(rule("1", 8))).status is ProvisionedStatus.FAILED


async def test_what_was_refused_is_kept_to_once_another_function_gives_room_back(platform):
    scaling, smaller = await restarted_with_less_room(platform)
    smaller.room = 8
    await scaling.follow(function_id("other"))
    assert smaller.counts == {"1": 8}
    assert (await scaling.progress(rule("1", 8))).status is ProvisionedStatus.READY


async def test_what_was_refused_and_is_removed_is_not_tried_again(platform):
    scaling, smaller = await restarted_with_less_room(platform)
    await scaling.remove(F, "1")
    smaller.room = 8
    await scaling.follow(function_id("other"))
    assert smaller.counts == {}


async def test_an_update_of_latest_moves_its_bounds_to_the_new_revision(platform):
    bounds = ScaleRule(F, "$LATEST", THEN, min_instances=1, max_instances=2)
    await platform.scaling.put(bounds)
    assert platform.manager.scales == {"$LATEST@r1": Scale(0, 1, 2)}
    updated = a_version(state=State.ACTIVE, revision_id="r2")
    await platform.functions.replace(updated, expected_revision_id="r1")
    await platform.scaling.follow(F)
    assert platform.manager.scales == {"$LATEST@r2": Scale(0, 1, 2)}
    assert platform.scaling.applied(updated) == Scale(0, 1, 2)


async def test_changes_at_once_leave_in_force_what_is_kept(platform):
    wanted = [rule(qualifier, n) for n in (1, 2, 3) for qualifier in ("1", "2", "live")]
    async with asyncio.TaskGroup() as tasks:
        for one in wanted:
            tasks.create_task(_try(platform.scaling.put(one)))
        tasks.create_task(platform.functions.delete_version(F, "3"))
        tasks.create_task(_try(move(platform, version="2")))
    await platform.scaling.follow(F)
    fresh = Limited()
    await Scaling(platform.rules, platform.functions, fresh).restore()
    assert platform.manager.counts == fresh.counts
    assert fresh.counts


async def _try(change):
    try:
        await change
    except PlatformError as error:
        assert error.code in (ErrorCode.CONFLICT, ErrorCode.PRECONDITION_FAILED)
