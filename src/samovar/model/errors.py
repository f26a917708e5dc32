"""The one error type of the platform, and what each code means to an AWS client.

Anything below the frontend raises `PlatformError` with a stable code; the frontend turns it into
AWS's answer with `AWS_ERRORS`. The names, statuses and fields are those of botocore's lambda
service model and of https://docs.aws.amazon.com/lambda/latest/api/CommonErrors.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """A stable code: its value is the AWS error name that a client sees."""

    VALIDATION = "ValidationException"
    SERIALIZATION = "SerializationException"
    INVALID_PARAMETER = "InvalidParameterValueException"
    INVALID_REQUEST_CONTENT = "InvalidRequestContentException"
    UNSUPPORTED_MEDIA_TYPE = "UnsupportedMediaTypeException"
    REQUEST_TOO_LARGE = "RequestTooLargeException"
    MISSING_TOKEN = "MissingAuthenticationTokenException"  # noqa: S105 - an error's name
    INCOMPLETE_SIGNATURE = "IncompleteSignatureException"
    ACCESS_DENIED = "AccessDeniedException"
    UNKNOWN_OPERATION = "UnknownOperationException"
    NOT_FOUND = "ResourceNotFoundException"
    CONFLICT = "ResourceConflictException"
    RESOURCE_IN_USE = "ResourceInUseException"
    PRECONDITION_FAILED = "PreconditionFailedException"
    CODE_STORAGE_EXCEEDED = "CodeStorageExceededException"
    POLICY_LENGTH_EXCEEDED = "PolicyLengthExceededException"
    RECURSIVE_INVOCATION = "RecursiveInvocationException"
    CAPACITY_PROVIDER_LIMIT = "CapacityProviderLimitExceededException"
    NO_PROVISIONED_CONFIG = "ProvisionedConcurrencyConfigNotFoundException"
    TOO_MANY_REQUESTS = "TooManyRequestsException"
    QUOTA_EXCEEDED = "ServiceQuotaExceededException"
    INVALID_ZIP = "InvalidZipFileException"
    INVALID_RUNTIME = "InvalidRuntimeException"
    NOT_IMPLEMENTED = "NotImplementedException"
    SERVICE = "ServiceException"
    UNAVAILABLE = "ServiceUnavailableException"


AWS_ERRORS: Mapping[ErrorCode, int] = {
    ErrorCode.VALIDATION: 400,
    ErrorCode.SERIALIZATION: 400,
    ErrorCode.INVALID_PARAMETER: 400,
    ErrorCode.INVALID_REQUEST_CONTENT: 400,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.REQUEST_TOO_LARGE: 413,
    ErrorCode.MISSING_TOKEN: 403,
    ErrorCode.INCOMPLETE_SIGNATURE: 400,
    ErrorCode.ACCESS_DENIED: 403,
    ErrorCode.UNKNOWN_OPERATION: 404,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.RESOURCE_IN_USE: 400,
    ErrorCode.PRECONDITION_FAILED: 412,
    ErrorCode.CODE_STORAGE_EXCEEDED: 400,
    ErrorCode.POLICY_LENGTH_EXCEEDED: 400,
    ErrorCode.RECURSIVE_INVOCATION: 400,
    ErrorCode.CAPACITY_PROVIDER_LIMIT: 400,
    ErrorCode.NO_PROVISIONED_CONFIG: 404,
    ErrorCode.TOO_MANY_REQUESTS: 429,
    ErrorCode.QUOTA_EXCEEDED: 402,
    ErrorCode.INVALID_ZIP: 502,
    ErrorCode.INVALID_RUNTIME: 502,
    ErrorCode.NOT_IMPLEMENTED: 501,
    ErrorCode.SERVICE: 500,
    ErrorCode.UNAVAILABLE: 503,
}
"""HTTP status of each code."""


class ThrottleReason(StrEnum):
    """Why a 429: the `Reason` member of TooManyRequestsException."""

    ACCOUNT_CONCURRENCY = "ConcurrentInvocationLimitExceeded"
    RESERVED_CONCURRENCY = "ReservedFunctionConcurrentInvocationLimitExceeded"
    INVOCATION_RATE = "FunctionInvocationRateLimitExceeded"
    RESERVED_INVOCATION_RATE = "ReservedFunctionInvocationRateLimitExceeded"
    CALLER_RATE = "CallerRateLimitExceeded"


@dataclass(slots=True)
class PlatformError(Exception):
    """A request that the platform refuses or cannot serve.

    `reason` is sent as `Reason` where the AWS shape has one (429). `user_fault` is false for
    5xx: AWS sends it as `Type` ("User" or "Service"). `retry_after_s` is sent as `Retry-After`
    where the AWS shape has it (429).
    """

    code: ErrorCode
    message: str
    reason: str | None = None
    retry_after_s: int | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @property
    def status(self) -> int:
        """The HTTP status that AWS answers with."""
        return AWS_ERRORS[self.code]

    @property
    def user_fault(self) -> bool:
        """Whether the caller can mend it."""
        return self.status < 500 or self.code is ErrorCode.INVALID_ZIP
