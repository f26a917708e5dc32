"""An AWS service that this server speaks: its model, what answers its operations, its errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from samovar.awsproto import ServiceModel
from samovar.frontend.operations.control import Handler
from samovar.model.errors import ErrorCode

MAX_CONTROL_BODY_BYTES = 70_167_211
"""AWS's own limit on a control-plane request: 50 MB of zip in base64, and some."""

SCHEDULER_BODY_BYTES = 2 * 1024 * 1024
"""An input of 256 KiB may take six bytes for each of its own."""

SCHEDULER_ERRORS: Mapping[ErrorCode, str] = {
    ErrorCode.INVALID_PARAMETER: "ValidationException",
    ErrorCode.SERIALIZATION: "ValidationException",
    ErrorCode.CONFLICT: "ConflictException",
    ErrorCode.TOO_MANY_REQUESTS: "ThrottlingException",
    ErrorCode.SERVICE: "InternalServerException",
}
"""The platform's codes are named after Lambda's errors; these have other names here.
https://docs.aws.amazon.com/scheduler/latest/APIReference/CommonErrors.html"""


@dataclass(frozen=True, slots=True)
class Service:
    """See the module's text."""

    model: ServiceModel
    handlers: Mapping[str, Handler]
    """By operation; one that is not here is answered with a 501."""
    error_names: Mapping[ErrorCode, str] = field(default_factory=dict)
    """Where they are not the codes' own."""
    max_body_bytes: int = MAX_CONTROL_BODY_BYTES

    @property
    def roots(self) -> frozenset[str]:
        """The first segments of the paths of its operations."""
        return frozenset(
            operation.uri.split("/")[1] for operation in self.model.operations.values()
        )


def lambda_service(handlers: Mapping[str, Handler]) -> Service:
    """AWS Lambda."""
    return Service(ServiceModel.load("lambda"), handlers)


def scheduler_service(handlers: Mapping[str, Handler]) -> Service:
    """EventBridge Scheduler."""
    model = ServiceModel.load("scheduler")
    return Service(model, handlers, SCHEDULER_ERRORS, SCHEDULER_BODY_BYTES)
