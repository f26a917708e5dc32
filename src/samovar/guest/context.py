"""The `context` that a handler gets beside its event.

Attributes and methods: https://docs.aws.amazon.com/lambda/latest/dg/python-context.html. Objects
are plain and open, as AWS's are: middleware hangs its own attributes on them.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from samovar.guest.faults import CONTEXT_UNMARSHAL_ERROR, FaultError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from samovar.guest.wire import Meta


class _Record:
    """Named fields of a JSON object; those that it lacks are None."""

    __slots__: tuple[str, ...] = ()

    def __init__(self, fields: Mapping[str, Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, fields.get(name))

    def __repr__(self) -> str:
        fields = ",".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"{type(self).__name__}([{fields}])"


class CognitoIdentity(_Record):
    """Who called, where a Cognito identity did."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    cognito_identity_id: str | None
    cognito_identity_pool_id: str | None


class Client(_Record):
    """The application that called, as AWS's mobile SDKs describe it."""

    __slots__ = (  # noqa: RUF023 - the order of repr, as AWS has it
        "installation_id",
        "app_title",
        "app_version_name",
        "app_version_code",
        "app_package_name",
    )


class ClientContext(_Record):
    """What the caller put into X-Amz-Client-Context."""

    __slots__ = ("custom", "env", "client")  # noqa: RUF023 - as above

    custom: Any
    env: Any
    client: Any

    def __init__(self, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        if self.client is not None:
            self.client = Client(self.client)


class LambdaContext:
    """One invocation, as its handler sees it."""

    function_name: str
    function_version: str
    invoked_function_arn: str
    memory_limit_in_mb: str
    aws_request_id: str
    log_group_name: str | None
    log_stream_name: str | None
    identity: CognitoIdentity
    client_context: ClientContext | None
    tenant_id: str | None
    _deadline_ms: int
    _write: Callable[[str], None]

    def get_remaining_time_in_millis(self) -> int:
        """Return how many milliseconds are left before the invocation times out."""
        return max(self._deadline_ms - int(time.time() * 1000), 0)

    def log(self, msg: object) -> None:
        """Write an entry to the function's log."""
        self._write(str(msg))

    def __repr__(self) -> str:
        fields = ",".join(f"{k}={v}" for k, v in self.__dict__.items() if not k.startswith("_"))
        return f"{type(self).__name__}([{fields}])"


class ContextFactory:
    """Makes contexts: what is the same for all invocations of an instance is looked up once."""

    def __init__(self, env: Mapping[str, str], write: Callable[[str], None]) -> None:
        self._same = {
            "function_name": env.get("AWS_LAMBDA_FUNCTION_NAME"),
            "function_version": env.get("AWS_LAMBDA_FUNCTION_VERSION"),
            "memory_limit_in_mb": env.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
            "log_group_name": env.get("AWS_LAMBDA_LOG_GROUP_NAME"),
            "log_stream_name": env.get("AWS_LAMBDA_LOG_STREAM_NAME"),
            "client_context": None,
            "_write": write,
        }

    def make(self, meta: Meta) -> LambdaContext:
        """Return the context of one INVOKE frame.

        `FaultError` where its client context is no JSON object."""
        context = LambdaContext()
        context.__dict__.update(
            self._same,
            aws_request_id=meta["id"],
            invoked_function_arn=meta["arn"],
            identity=CognitoIdentity({}),
            tenant_id=meta.get("tenant_id"),
            _deadline_ms=meta["deadline_ms"],
        )
        client_context = meta.get("client_context")
        if client_context:
            context.client_context = _parse_client_context(client_context)
        return context


def _parse_client_context(text: str) -> ClientContext:
    try:
        return ClientContext(json.loads(text))
    except Exception as error:
        raise FaultError(
            CONTEXT_UNMARSHAL_ERROR, f"Unable to parse Client Context JSON: {error}"
        ) from error
