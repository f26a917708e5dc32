"""The guard against web pages: a browser on this machine reaches the server as its user does.

How this works. Any page that a user opens can make the browser send requests here. Two things give
it away, and both are checked for every request:

- The Host header. A page whose own name was rebound to our address (DNS rebinding) is of the same
  origin for the browser, but its requests carry that name. So Host must be an address, or a name
  that nobody can register: a single label, or one below the reserved domains.
- Origin and Sec-Fetch-Site (https://www.w3.org/TR/fetch-metadata/). Browsers put them on what a
  page of another site sends. Pages on this machine itself are let through.

No SDK sends the latter, and every one is given the former by its endpoint.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from samovar.model.errors import ErrorCode, PlatformError

RESERVED_DOMAINS = ("localhost", "local", "internal", "test", "home.arpa")
"""RFC 6761, 6762, 8375, and ICANN's resolution 2024.07.29.06 (internal)."""


class OriginGuard:
    """Refuses what web pages send. `names` are those that the server is known by, beside the
    ones that nobody can register."""

    def __init__(self, *names: str) -> None:
        self._names = frozenset(name.lower() for name in names)

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise ACCESS_DENIED for a request that may come from a web page."""
        name = _host_name(headers.get("host", ""))
        if not _nobody_can_register(name) and name not in self._names:
            raise PlatformError(
                ErrorCode.ACCESS_DENIED,
                f"Host {name[:200]!r} is not served here; SAMOVAR_ALLOWED_HOSTS can name it.",
            )
        if "sec-fetch-site" in headers or "origin" in headers:
            _check_page(headers, name)


def _check_page(headers: Mapping[str, str], name: str) -> None:
    origin = headers.get("origin")
    foreign = headers.get("sec-fetch-site") == "cross-site"
    if foreign or (origin is not None and not _is_ours(origin, name)):
        raise PlatformError(
            ErrorCode.ACCESS_DENIED, "Requests from other sites' pages are refused."
        )


def _is_ours(origin: str, name: str) -> bool:
    """Whether a page is from this server, as it was called, or from this machine."""
    try:
        page = urlsplit(origin).hostname or ""
    except ValueError:
        return False
    if not page:
        return False  # "null": a file, or a page in a sandbox
    if page == name or page == "localhost" or page.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(page).is_loopback
    except ValueError:
        return False


@functools.lru_cache(maxsize=256)
def _host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().removesuffix(".")


@functools.lru_cache(maxsize=256)
def _nobody_can_register(name: str) -> bool:
    if not name:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(tuple(f".{domain}" for domain in RESERVED_DOMAINS))
    return True
