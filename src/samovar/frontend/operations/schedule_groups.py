"""Create, read, list and delete groups of schedules; their tags.

https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateScheduleGroup.html and its
siblings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from samovar.frontend.auth import Caller
from samovar.frontend.operations.control import Handler, Params, Result
from samovar.frontend.operations.scheduler_control import PAGE_SIZE, SchedulerControl, refused
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.schedule import DEFAULT_GROUP, GroupId, GroupState, ScheduleGroup

MAX_TAGS = 50
"""https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-group.html"""


class ScheduleGroupOperations:
    """The operations whose noun is the group."""

    def __init__(self, control: SchedulerControl) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "CreateScheduleGroup": self.create,
            "GetScheduleGroup": self.get,
            "ListScheduleGroups": self.list,
            "DeleteScheduleGroup": self.delete,
            "TagResource": self.tag,
            "UntagResource": self.untag,
            "ListTagsForResource": self.list_tags,
        }

    async def create(self, caller: Caller, params: Params) -> Result:
        await self._control.ensure_default(caller)
        now = self._control.now()
        group = ScheduleGroup(
            id=GroupId(caller.account, caller.region, params["Name"]),
            created=now,
            last_modified=now,
            tags=_tagged({}, params.get("Tags") or ()),
            client_token=params.get("ClientToken"),
        )
        await self._control.groups.create(group)
        self._control.deletions.forget(group.id.arn)
        return {"ScheduleGroupArn": group.id.arn}

    async def get(self, caller: Caller, params: Params) -> Result:
        group = GroupId(caller.account, caller.region, params["Name"])
        return _describe(await self._known(caller, group))

    async def list(self, caller: Caller, params: Params) -> Result:
        await self._control.ensure_default(caller)
        page = await self._control.groups.list_groups(
            caller.account,
            caller.region,
            params.get("NamePrefix") or "",
            marker=params.get("NextToken"),
            limit=params.get("MaxResults") or PAGE_SIZE,
        )
        return {
            "ScheduleGroups": [_describe(group) for group in page.items],
            "NextToken": page.marker,
        }

    async def delete(self, caller: Caller, params: Params) -> Result:
        """Its schedules go first; until then it is DELETING."""
        name = params["Name"]
        if name == DEFAULT_GROUP:
            raise refused("The default schedule group cannot be deleted.")
        group, token = GroupId(caller.account, caller.region, name), params.get("ClientToken")
        if self._control.deletions.has(group.arn, token):
            return {}
        now = self._control.now()
        await self._control.groups.replace(
            group,
            lambda known: structs.replace(known, state=GroupState.DELETING, last_modified=now),
        )
        self._control.deletions.add(group.arn, token)
        self._control.changed()
        return {}

    # ------------------------------------------------------------ tags

    async def tag(self, caller: Caller, params: Params) -> Result:
        await self._retag(caller, params, lambda tags: _tagged(tags, params["Tags"]))
        return {}

    async def untag(self, caller: Caller, params: Params) -> Result:
        gone = frozenset(params["TagKeys"])
        await self._retag(
            caller, params, lambda tags: {k: v for k, v in tags.items() if k not in gone}
        )
        return {}

    async def list_tags(self, caller: Caller, params: Params) -> Result:
        group = await self._known(caller, _named(caller, params))
        return {"Tags": [{"Key": key, "Value": value} for key, value in group.tags.items()]}

    # ------------------------------------------------------------ inside

    async def _retag(self, caller: Caller, params: Params, change: Any) -> None:
        group = (await self._known(caller, _named(caller, params))).id
        now = self._control.now()
        await self._control.groups.replace(
            group,
            lambda known: structs.replace(known, tags=change(known.tags), last_modified=now),
        )

    async def _known(self, caller: Caller, group: GroupId) -> ScheduleGroup:
        if group.name == DEFAULT_GROUP:
            await self._control.ensure_default(caller)
        return await self._control.groups.get(group)


def _named(caller: Caller, params: Params) -> GroupId:
    """The group that an ARN names; of somebody else's there is none."""
    arn = params["ResourceArn"]
    group = GroupId(caller.account, caller.region, arn.rpartition("/")[2])
    if group.arn != arn:
        raise PlatformError(ErrorCode.NOT_FOUND, f"Schedule group {arn} does not exist.")
    return group


def _tagged(tags: Mapping[str, str], more: Any) -> Mapping[str, str]:
    tagged = {**tags, **{tag["Key"]: tag["Value"] for tag in more}}
    if len(tagged) > MAX_TAGS:
        raise refused(f"A schedule group has at most {MAX_TAGS} tags.")
    return tagged


def _describe(group: ScheduleGroup) -> Result:
    return {
        "Arn": group.id.arn,
        "Name": group.id.name,
        "State": group.state.value,
        "CreationDate": group.created,
        "LastModificationDate": group.last_modified,
    }
