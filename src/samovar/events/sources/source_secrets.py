"""Secrets that mappings name: how to log in to a broker. They live in Secrets Manager, and here for
as long as a poller runs; no message and no log line ever holds one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import msgspec

from samovar.config import no_endpoint
from samovar.events.clients import AwsClients
from samovar.events.sources.aws_request import ask
from samovar.events.sources.poller import SourceError
from samovar.model.errors import ErrorCode, PlatformError

READ_LIMIT_S = 60.0

_ARN = re.compile(r"arn:[a-z-]+:secretsmanager:(?P<region>[a-z0-9-]+):\d{12}:secret:.+", re.ASCII)


def check_secret(clients: AwsClients, arn: str) -> None:
    """Raise INVALID_PARAMETER for what cannot be the ARN of a secret that is to be had here."""
    if not _ARN.fullmatch(arn):
        raise PlatformError(
            ErrorCode.INVALID_PARAMETER, f"{arn} is not the ARN of a secret of Secrets Manager."
        )
    if clients.endpoint_of("secretsmanager") is None:
        raise PlatformError(ErrorCode.INVALID_PARAMETER, no_endpoint("secretsmanager"))


async def read_secret(clients: AwsClients, arn: str) -> Mapping[str, str]:
    """The fields of a secret. Raises `SourceError`."""
    match = _ARN.fullmatch(arn)
    if match is None:
        raise SourceError(f"{arn} is not the ARN of a secret")
    try:
        async with (
            asyncio.timeout(READ_LIMIT_S),
            clients.client("secretsmanager", match["region"]) as client,
        ):
            answer = await ask(client.get_secret_value, SecretId=arn)
    except (SourceError, TimeoutError) as error:
        raise SourceError(f"The secret {arn} cannot be read: {error}") from error
    return secret_fields(arn, answer.get("SecretString"))


def secret_fields(arn: str, text: object) -> Mapping[str, str]:
    """The fields in a secret's text. Raises `SourceError`, which does not quote it."""
    try:
        if not isinstance(text, str):
            raise TypeError("binary")
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, TypeError, RecursionError):
        # Not chained: the cause may tell of the content.
        raise SourceError(f"The secret {arn} is not a JSON object of texts") from None


def secret_field(arn: str, secret: Mapping[str, str], name: str) -> str:
    """One field that has to be there. Raises `SourceError`."""
    if name not in secret:
        raise SourceError(f"The secret {arn} has no {name}")
    return secret[name]
