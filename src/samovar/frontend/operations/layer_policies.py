"""Who of other accounts may use a layer version.

https://docs.aws.amazon.com/lambda/latest/api/API_AddLayerVersionPermission.html and its siblings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from samovar.frontend.auth import Caller
from samovar.frontend.operations.configuration import invalid
from samovar.frontend.operations.control import Control, Handler, Params, Result
from samovar.frontend.operations.function_layers import check_access
from samovar.frontend.operations.layers import named_version
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.layer import EVERYBODY, LayerId, LayerPolicy

MAX_POLICY_BYTES = 20_480
"""AWS's quota on resource-based policies."""


class LayerPolicyOperations:
    """The operations whose noun is a layer version's policy."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def handlers(self) -> Mapping[str, Handler]:
        return {
            "AddLayerVersionPermission": self.add,
            "GetLayerVersionPolicy": self.get,
            "RemoveLayerVersionPermission": self.remove,
        }

    async def add(self, caller: Caller, params: Params) -> Result:
        layer, number = await self._named(caller, params, "AddLayerVersionPermission")
        if params.get("OrganizationId"):
            raise invalid(
                "OrganizationId is not supported by this server: it could not be enforced."
            )
        statement, principal = params["StatementId"], _account(params["Principal"])
        revision = self._control.new_revision()

        def change(policy: LayerPolicy | None) -> LayerPolicy:
            _check_revision(policy, params)
            statements = policy.statements if policy else {}
            if statement in statements:
                raise PlatformError(
                    ErrorCode.CONFLICT,
                    f"The statement id ({statement}) provided already exists. Please provide a "
                    "new statement id, or remove the existing statement.",
                )
            changed = LayerPolicy(revision, {**statements, statement: principal})
            if len(_document(changed, layer.version_arn(number))) > MAX_POLICY_BYTES:
                raise PlatformError(
                    ErrorCode.POLICY_LENGTH_EXCEEDED,
                    f"The final policy size exceeds the limit ({MAX_POLICY_BYTES}).",
                )
            return changed

        await self._control.layers.change_policy(layer, number, change)
        described = _statement(statement, principal, layer.version_arn(number))
        return {"Statement": json.dumps(described), "RevisionId": revision}

    async def get(self, caller: Caller, params: Params) -> Result:
        layer, number = await self._named(caller, params, "GetLayerVersionPolicy")
        policy = await self._control.layers.policy(layer, number)
        if policy is None:
            raise _no_policy()
        document = _document(policy, layer.version_arn(number))
        return {"Policy": document, "RevisionId": policy.revision_id}

    async def remove(self, caller: Caller, params: Params) -> Result:
        layer, number = await self._named(caller, params, "RemoveLayerVersionPermission")
        statement = params["StatementId"]
        revision = self._control.new_revision()

        def change(policy: LayerPolicy | None) -> LayerPolicy | None:
            if policy is None:
                raise _no_policy()
            _check_revision(policy, params)
            if statement not in policy.statements:
                raise PlatformError(
                    ErrorCode.NOT_FOUND, f"Statement {statement} is not found in resource policy."
                )
            rest = {key: value for key, value in policy.statements.items() if key != statement}
            return LayerPolicy(revision, rest) if rest else None

        await self._control.layers.change_policy(layer, number, change)
        return {}

    async def _named(self, caller: Caller, params: Params, action: str) -> tuple[LayerId, int]:
        layer, number = named_version(params, caller)
        await check_access(self._control, caller, layer, number, action)
        return layer, number


def _account(principal: str) -> str:
    """The account of `123456789012` or `arn:aws:iam::123456789012:root`; or everybody."""
    return principal if principal == EVERYBODY else principal.removesuffix(":root")[-12:]


def _statement(statement: str, principal: str, arn: str) -> dict[str, Any]:
    root = {"AWS": f"arn:aws:iam::{principal}:root"}
    return {
        "Sid": statement,
        "Effect": "Allow",
        "Principal": EVERYBODY if principal == EVERYBODY else root,
        "Action": "lambda:GetLayerVersion",
        "Resource": arn,
    }


def _document(policy: LayerPolicy, arn: str) -> str:
    statements = [_statement(*item, arn) for item in policy.statements.items()]
    return json.dumps({"Version": "2012-10-17", "Id": "default", "Statement": statements})


def _check_revision(policy: LayerPolicy | None, params: Params) -> None:
    wanted = params.get("RevisionId")
    if wanted and (policy is None or wanted != policy.revision_id):
        raise PlatformError(
            ErrorCode.PRECONDITION_FAILED,
            "The Revision Id provided does not match the latest Revision Id. Call the "
            "GetLayerPolicy API to retrieve the latest Revision Id",
        )


def _no_policy() -> PlatformError:
    return PlatformError(ErrorCode.NOT_FOUND, "No policy is associated with the given resource.")
