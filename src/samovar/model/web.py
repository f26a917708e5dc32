"""Functions that are web servers: the settings that their environment has for them.

They are those of the AWS Lambda Web Adapter, whose place the platform takes; of what it does not do
it says so when the function is created:
https://awslabs.github.io/aws-lambda-web-adapter/configuration/environment-variables.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

WRAPPER = "AWS_LAMBDA_EXEC_WRAPPER"
ADAPTER_WRAPPER = "/opt/bootstrap"
"""What the adapter's documentation has functions set as their wrapper."""
ADAPTER_FILES = ("bootstrap", "extensions/lambda-adapter")
"""Where a layer has the adapter itself; then it is left to do its work."""

RUNTIME_API_PORT = 9001
_PREFIX = "AWS_LWA_"
_DEFAULT_PORT = "8080"
"""The adapter's."""
_KNOWN = {
    "PORT",
    "HOST",
    "READINESS_CHECK_PORT",
    "READINESS_CHECK_PATH",
    "READINESS_CHECK_PROTOCOL",
    "READINESS_CHECK_HEALTHY_STATUS",
    "READINESS_CHECK_MIN_UNHEALTHY_STATUS",
    "ASYNC_INIT",
    "REMOVE_BASE_PATH",
    "ENABLE_COMPRESSION",
    "INVOKE_MODE",
    "PASS_THROUGH_PATH",
    "AUTHORIZATION_SOURCE",
    "ERROR_STATUS_CODES",
}
_PATH = re.compile(r"/[\x21-\x7e]*")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

Ranges = tuple[tuple[int, int], ...]
"""HTTP statuses, from … to, both included."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """How to speak to the server in an instance."""

    port: int
    readiness_port: int
    readiness_path: str
    readiness_tcp: bool
    """It is ready when it accepts connections; else, when it answers well."""
    healthy: Ranges
    async_init: bool
    """Init ends shortly before its limit, ready or not; then invocations wait for the server."""
    base_path: str
    """Taken off the front of each path."""
    pass_through_path: str
    """Where events go that are no HTTP requests."""
    authorization_source: str
    """The header that is to be `authorization`; empty: none."""
    errors: Ranges
    """Answers that make the invocation fail."""
    streams: bool

    def as_meta(self) -> dict[str, Any]:
        """For the instance: JSON values only."""
        return asdict(self)


def web_settings(environment: Mapping[str, str]) -> WebSettings | None:
    """The settings of a function with this environment; None if it is no web server.

    Raises `ValueError`, with a message for who has set them, where they make no sense."""
    if "AWS_LWA_PORT" not in environment and environment.get(WRAPPER) != ADAPTER_WRAPPER:
        return None
    for name in environment:
        if name.startswith(_PREFIX) and name.removeprefix(_PREFIX) not in _KNOWN:
            raise ValueError(f"{name} is not supported")

    def given(name: str, default: str, *older: str) -> str:
        names = (_PREFIX + name, *older)
        return next((environment[known] for known in names if known in environment), default)

    port = _port("AWS_LWA_PORT", given("PORT", _DEFAULT_PORT, "PORT"))
    if given("HOST", "127.0.0.1") not in ("127.0.0.1", "localhost"):
        raise ValueError("AWS_LWA_HOST must be 127.0.0.1: servers are asked in their own instance")
    if _truth("AWS_LWA_ENABLE_COMPRESSION", given("ENABLE_COMPRESSION", "false")):
        raise ValueError("AWS_LWA_ENABLE_COMPRESSION is not supported")
    mode = given("INVOKE_MODE", "buffered").lower()
    if mode not in ("buffered", "response_stream"):
        raise ValueError("AWS_LWA_INVOKE_MODE must be buffered or response_stream")
    protocol = given("READINESS_CHECK_PROTOCOL", "http", "READINESS_CHECK_PROTOCOL").lower()
    if protocol not in ("http", "tcp"):
        raise ValueError("AWS_LWA_READINESS_CHECK_PROTOCOL must be http or tcp")
    readiness_port = given("READINESS_CHECK_PORT", str(port), "READINESS_CHECK_PORT")
    readiness_path = given("READINESS_CHECK_PATH", "/", "READINESS_CHECK_PATH")
    base_path = given("REMOVE_BASE_PATH", "", "REMOVE_BASE_PATH").rstrip("/")
    return WebSettings(
        port=port,
        readiness_port=_port("AWS_LWA_READINESS_CHECK_PORT", readiness_port),
        readiness_path=_path("AWS_LWA_READINESS_CHECK_PATH", readiness_path),
        readiness_tcp=protocol == "tcp",
        healthy=_healthy(environment),
        async_init=_truth("AWS_LWA_ASYNC_INIT", given("ASYNC_INIT", "false", "ASYNC_INIT")),
        base_path=_path("AWS_LWA_REMOVE_BASE_PATH", base_path) if base_path else "",
        pass_through_path=_path("AWS_LWA_PASS_THROUGH_PATH", given("PASS_THROUGH_PATH", "/events")),
        authorization_source=_field_name(given("AUTHORIZATION_SOURCE", "")),
        errors=_ranges("AWS_LWA_ERROR_STATUS_CODES", given("ERROR_STATUS_CODES", "")),
        streams=mode == "response_stream",
    )


def _healthy(environment: Mapping[str, str]) -> Ranges:
    name = "AWS_LWA_READINESS_CHECK_HEALTHY_STATUS"
    if name in environment:
        return _ranges(name, environment[name])
    older = "AWS_LWA_READINESS_CHECK_MIN_UNHEALTHY_STATUS"
    ((least, _),) = _ranges(older, environment.get(older, "500")) or ((500, 500),)
    return ((100, least - 1),)


def _port(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise ValueError(f"{name} must be a port")
    if int(text) == RUNTIME_API_PORT:
        raise ValueError(f"{name} must not be {RUNTIME_API_PORT}: that is the Runtime API's")
    return int(text)


def _path(name: str, text: str) -> str:
    if not _PATH.fullmatch(text):
        raise ValueError(f"{name} must be a path that begins with /")
    return text


def _field_name(text: str) -> str:
    if text and not _FIELD_NAME.fullmatch(text):
        raise ValueError("AWS_LWA_AUTHORIZATION_SOURCE must be the name of a header")
    return text.lower()


def _truth(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{name} must be true or false")
    return text.lower() == "true"


def _ranges(name: str, text: str) -> Ranges:
    """`200-399,404` → the ranges."""
    ranges = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"([1-9]\d\d)(?:\s*-\s*([1-9]\d\d))?", part, re.ASCII)
        if not found or int(found[1]) > int(found[2] or found[1]):
            raise ValueError(f"{name} must be statuses such as 200-399,404")
        ranges.append((int(found[1]), int(found[2] or found[1])))
    return tuple(ranges)
