"""Where the message brokers are whose names stand in ARNs of Amazon MQ.

AWS knows it of its own brokers; here whoever runs the server says it: `NAME=amqp://host:port/`,
several of them separated by commas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from samovar.model.source_hosts import Place

_NAME = re.compile(r"[A-Za-z0-9_-]{1,50}")
_ARN = re.compile(r"arn:[a-z-]+:mq:[a-z0-9-]*:\d{12}:broker:(?P<name>[^:]+):[^:]+", re.ASCII)

_DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class MqBroker:
    """A RabbitMQ. Who logs in, and to which virtual host, is each mapping's affair."""

    host: str
    port: int
    tls: bool

    @property
    def place(self) -> Place:
        """For the rules of hosts."""
        return Place(self.host.lower(), self.port)


def parse_brokers(text: str) -> Mapping[str, MqBroker]:
    """`mq_brokers` by name. Raises `ValueError`."""
    brokers: dict[str, MqBroker] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, url = part.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise ValueError(f"NAME=amqp://host:port/, not {_without_user(part)!r}")
        if name in brokers:
            raise ValueError(f"each name once, not {name} twice")
        brokers[name] = _broker(url)
    return brokers


def broker_name(arn: str) -> str | None:
    """The name of the broker that an ARN is of; None: it is no broker's."""
    match = _ARN.fullmatch(arn)
    return match["name"] if match else None


def _broker(url: str) -> MqBroker:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError("a URL like amqp://host:port/") from error
    if "@" in url:
        raise ValueError("a URL without a user and a password: those are in the mapping's secret")
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"a URL like amqp://host:port/, not {url!r}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"a URL without a path, not {url!r}: the mapping names the virtual host")
    return MqBroker(parts.hostname, port or _DEFAULT_PORTS[parts.scheme], parts.scheme == "amqps")


def _without_user(text: str) -> str:
    """A message must not hold the password that somebody has put into a URL."""
    return re.sub(r".*@", "…@", text)
