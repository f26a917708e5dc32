"""Errors become responses: modelled ones in the model's shape, all others in its likeness.

An SDK finds the error's name in the `x-amzn-ErrorType` header and its message in the body, under
`message` or `Message`; which of them a modelled error has is the model's whim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from samovar.awsproto.serialize import JSON_TYPE, Response, members_to_json, response_headers
from samovar.awsproto.service import ErrorShape, ServiceModel
from samovar.awsproto.shapes import Kind
from samovar.model.errors import PlatformError

encode = msgspec.json.Encoder().encode

MESSAGE_NAMES = ("message", "Message")


def serialize_error(
    service: ServiceModel, error: PlatformError, request_id: str, name: str | None = None
) -> Response:
    """Return AWS's answer to an error, modelled by the service or not; `name`: what the service
    calls it, where that is not the code's own name."""
    members = {
        "Type": "User" if error.user_fault else "Service",
        "Reason": error.reason,
        "retryAfterSeconds": error.retry_after_s,
    }
    return error_response(
        service, name or error.code.value, error.status, error.message, members, request_id
    )


def error_response(
    service: ServiceModel,
    name: str,
    status: int,
    message: str,
    members: Mapping[str, Any],
    request_id: str,
) -> Response:
    """Return the answer for an error's name.

    Of `members` (without the message) a modelled error takes those that it has, and its status is
    the model's, not `status`; any other error takes `Type`.
    """
    headers = [JSON_TYPE, ("x-amzn-ErrorType", name), ("x-amzn-RequestId", request_id)]
    shape = service.errors.get(name)
    if shape is None:
        body = {"Type": members.get("Type"), "message": message}
        return Response(status, headers, encode({k: v for k, v in body.items() if v is not None}))
    values = _values(shape, message, members)
    headers += response_headers(shape.message, values)
    return Response(
        shape.status, headers, encode(members_to_json(shape.message.body, values, name))
    )


def _values(error: ErrorShape, message: str, members: Mapping[str, Any]) -> dict[str, Any]:
    known = error.message.shape.members
    values: dict[str, Any] = {name: message for name in MESSAGE_NAMES if name in known}
    for name, value in members.items():
        if name in known and value is not None:
            # `retryAfterSeconds` is a string in one service and an integer in the next.
            values[name] = str(value) if known[name].shape.kind is Kind.STRING else value
    return values
