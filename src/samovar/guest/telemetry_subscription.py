"""What a subscriber of the Telemetry API, or of the older Logs API, asks for.

https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api-reference.html,
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-logs-api.html

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing import Any

TYPES = ("platform", "function", "extension")
TELEMETRY_VERSIONS = ("2022-07-01", "2022-12-13", "2025-01-29")
LOGS_VERSIONS = ("2020-08-15", "2021-03-18")
HOSTS = ("sandbox.localdomain", "sandbox")

_MAX_PATH_CHARS = 2048
_BOUNDS = {
    "maxItems": (1_000, 10_000, 10_000),
    "maxBytes": (262_144, 1_048_576, 262_144),
    "timeoutMs": (25, 30_000, 1_000),
}
"""Name → least, most, default."""


class InvalidSubscriptionError(Exception):
    """What is wrong with the request, in AWS's words."""


class Subscription(NamedTuple):
    """A request that is in order."""

    schema_version: str
    types: frozenset[str]
    protocol: str
    """`HTTP` or `TCP`."""
    port: int
    path: str
    method: str
    max_items: int
    max_bytes: int
    timeout_ms: int

    @property
    def is_logs_api(self) -> bool:
        """Whether it came by the Logs API, which has other events."""
        return self.schema_version in LOGS_VERSIONS


def parse(body: bytes | bytearray, versions: tuple[str, ...], reserved_port: int) -> Subscription:
    """Return the subscription; raises `InvalidSubscriptionError`.

    `reserved_port` is that of the Runtime API, to which nothing is sent."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidSubscriptionError(f"failed to parse JSON: {error}") from error
    if not isinstance(request, dict):
        raise InvalidSubscriptionError("the request should be an object")
    problems: list[str] = []
    default = LOGS_VERSIONS[0] if versions == LOGS_VERSIONS else ""
    version: str = request.get("schemaVersion", default)
    if version not in versions:
        problems.append(f"schemaVersion should be one of {', '.join(versions)}")
    types = _types(request.get("types"), problems)
    destination = request.get("destination")
    if not isinstance(destination, dict):
        problems.append("destination is not provided")
        destination = {}
    protocol = destination.get("protocol", "HTTP")
    port, path = 0, "/"
    if protocol == "HTTP":
        port, path = _uri(destination.get("URI"), problems)
    elif protocol == "TCP":
        port = destination.get("port", 0)
    else:
        problems.append("protocol should be HTTP or TCP")
    if not problems and not (_is_number(port) and 0 < port < 1 << 16):
        problems.append(f"{protocol} port should be from 1 to 65535")
    if port == reserved_port:
        problems.append(f"port {port} is reserved")
    method = destination.get("method", "POST")
    if method not in ("POST", "PUT"):
        problems.append("method should be POST or PUT")
    sizes = _buffering(request.get("buffering"), problems)
    if problems:
        raise InvalidSubscriptionError("; ".join(problems))
    return Subscription(version, types, protocol, port, path, method, *sizes)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _types(types: Any, problems: list[str]) -> frozenset[str]:
    if not isinstance(types, list) or not types:
        problems.append("types should not be empty")
        return frozenset()
    unknown = [str(name)[:64] for name in types if name not in TYPES]
    if unknown:
        problems.append(f"unknown types: {', '.join(unknown[:8])}")
    return frozenset(name for name in types if name in TYPES)


def _uri(uri: Any, problems: list[str]) -> tuple[int, str]:
    try:
        if not isinstance(uri, str) or not uri.isascii() or not uri.isprintable() or " " in uri:
            raise ValueError("it is no URI")
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        problems.append(f"URI is invalid: {error}")
        return 0, "/"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme != "http":
        problems.append("URI scheme should be http")
    elif parts.hostname not in HOSTS:
        problems.append(f"URI host should be {HOSTS[0]}")
    elif not port:
        problems.append("URI port is not provided")
    elif len(path) > _MAX_PATH_CHARS:
        problems.append("URI is too long")
    return port or 0, path


def _buffering(buffering: Any, problems: list[str]) -> list[int]:
    given = {} if buffering is None else buffering
    if not isinstance(given, dict):
        problems.append("buffering should be an object")
        given = {}
    sizes = []
    for name, (least, most, default) in _BOUNDS.items():
        size = given.get(name, default)
        if not _is_number(size) or not least <= size <= most:
            problems.append(f"{name} should be from {least} to {most}")
        sizes.append(size)
    return sizes
