"""The configuration: read once, frozen, passed down. Nothing else reads the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from samovar.model.mq_brokers import MqBroker, parse_brokers
from samovar.model.source_hosts import HostRules
from samovar.model.tuning import KEEP_ALIVE_POLICIES


class IsolationMode(StrEnum):
    """What `--isolation` may say."""

    AUTO = "auto"
    """The best that this machine allows; what is missing is printed."""
    PROCESS = "process"
    """Every layer of the process sandbox, or refuse to start."""
    NONE = "none"
    """No isolation: for debugging trusted code."""


class LogFormat(StrEnum):
    """How the platform writes its own log."""

    CONSOLE = "console"
    JSON = "json"


class ConfigError(Exception):
    """A setting that makes no sense; the message names it and what it may be."""


PREFIX = "SAMOVAR_"

AWS_ENDPOINTS: Mapping[str, str] = {
    "sqs": "sqs_endpoint",
    "sns": "sns_endpoint",
    "events": "eventbridge_endpoint",
    "s3": "s3_endpoint",
    "kinesis": "kinesis_endpoint",
    "dynamodb": "dynamodb_endpoint",
    "dynamodbstreams": "dynamodb_endpoint",
    "secretsmanager": "secretsmanager_endpoint",
}
"""AWS's name of a service (as in ARNs, and as boto3 has it) → the setting of its endpoint."""

_ZONE = re.compile(r"[A-Za-z0-9._-]{0,64}")

MEMORY_SHARE = 0.9
"""Of the machine's memory, what instances may use unless told otherwise."""
MEMORY_END_SHARE = 0.97
MOST_BEYOND_MIB = 512
"""See `Config.memory_end_mib`."""


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting of `samovar up`. Each is also an environment variable, `SAMOVAR_<NAME>`."""

    host: str = "127.0.0.1"
    port: int = 9000
    """0 picks a free one."""
    data_dir: Path = Path(".samovar")
    isolation: IsolationMode = IsolationMode.AUTO
    examples: bool = True
    log_format: LogFormat = LogFormat.CONSOLE
    drain_timeout_s: float = 30.0
    """How long running invocations may go on after SIGTERM."""
    blanks: int = 8
    """Blank sandboxes that wait for code, for each runtime in use: at most. So many wait while a
    runtime is new or starts come in such bursts, a few when nothing starts. 0: fork on demand only.
    """
    idle_timeout_s: float = 600.0
    """An instance that has had nothing to do for so long is stopped (the policy `fixed`)."""
    keep_alive: str = "fixed"
    """The policy that decides how long idle instances are kept, of functions without one."""
    concurrency_target: float = 0.8
    """Share of the requests that an instance may have at once, from which on another instance is
    preferred."""
    account_concurrency: int = 1000
    """Invocations at once, over all functions (AWS's default quota)."""
    event_concurrency: int = 64
    """Events of one function at once (never more than its reserved concurrency)."""
    events_at_once: int = 256
    """Events of all functions at once; and about as many that are sent elsewhere."""
    event_queue_events: int = 1_000_000
    """Events that may wait in the queue of one function."""
    event_queue_mib: int = 1024
    """Their payloads."""
    event_store_mib: int = 10240
    """The payloads of all events that wait."""
    dead_events: int = 100_000
    """Events that are kept because they failed for good; the oldest of the queue with most of them
    make room."""
    dead_event_days: float = 14.0
    """How long they are kept."""
    queue_requests: int = 0
    """Requests of one function that may wait while it is over a limit. 0: none, as AWS has it."""
    scaling_rate: int = 1000
    """Instances that a function may start in ten seconds because requests wait. 0: any number."""
    invocation_rate_factor: int = 0
    """Requests a second for each that a function may have at once (AWS: 10). 0: any number."""
    queue_timeout_s: float = 60.0
    """How long a request may wait for room for an instance. (For the init phase of one that has
    room it waits as long as that may take.)"""
    memory_mib: int = 0
    """Memory that instances may use in all. 0: nine tenths of the machine's."""
    memory_oversubscription: float = 1.0
    """Promised ÷ that memory. Over 1, functions that use what they declare can be refused."""
    cpu_oversubscription: float = 0.0
    """vCPUs promised ÷ processors. 0: memory alone bounds what is promised, and processors are
    shared by whoever runs: too few of them make functions slow, but end none."""
    zone: str = ""
    """What fails together with this machine: instances of a function are spread over zones."""
    allowed_hosts: str = ""
    """Names that clients may call this server by, separated by commas: public DNS names. Addresses
    and local names always do."""
    search_path: str = "/usr/local/bin:/usr/bin:/bin"
    """Where interpreters are looked for: PATH, unless set."""
    max_schedules: int = 1_000_000
    """In an account and region (AWS's default quota)."""
    max_event_sources: int = 1000
    """Event source mappings, all in all: each polls all the time."""
    test_controls: bool = False
    """Let clients advance the clock and make invocations fail: for their tests."""
    aws_endpoint: str = ""
    """URL of whatever speaks the APIs of SQS, SNS, EventBridge, S3, Kinesis, DynamoDB and Secrets
    Manager: destinations and event sources are there. Empty: there is none."""
    sqs_endpoint: str = ""
    """Where one service is somewhere else; likewise those that follow."""
    sns_endpoint: str = ""
    eventbridge_endpoint: str = ""
    s3_endpoint: str = ""
    kinesis_endpoint: str = ""
    dynamodb_endpoint: str = ""
    """Of DynamoDB Streams too."""
    secretsmanager_endpoint: str = ""
    aws_access_key_id: str = ""
    """What requests to those endpoints are signed with. Empty: something that means nothing."""
    aws_secret_access_key: str = field(default="", repr=False)
    event_source_hosts: str = "*"
    """Hosts that Kafka and RabbitMQ may be on, separated by commas: `host` or `host:port`, where
    `*` in a host stands for any characters."""
    mq_brokers: str = ""
    """Where brokers are whose names stand in ARNs of Amazon MQ, separated by commas:
    `NAME=amqp://host:port/`, or amqps."""
    end_with_stdin: bool = False
    """Stop as on SIGTERM when stdin ends: whoever started the server has gone."""
    terminal: str = ""
    """Without isolation only: the path of a terminal where a function's breakpoint() speaks to a
    person. Functions have an hour then."""
    lock_fd: int = -1
    """The data directory's lock, held for us by whoever started the server (`claims.py`)."""
    listener_fd: int = -1
    """Likewise the socket to listen on, in place of `port`."""

    @classmethod
    def from_sources(cls, environ: Mapping[str, str] = os.environ, **flags: Any) -> Config:
        """Flags that are not None, over `SAMOVAR_…` variables, over defaults.

        Raises `ConfigError` for a value of the wrong type or out of its range.
        """
        values: dict[str, Any] = {}
        for spec in fields(cls):
            given = flags.pop(spec.name, None)
            if given is None:
                given = environ.get(PREFIX + spec.name.upper())
            if given is None and spec.name == "search_path":
                given = environ.get("PATH")
            if given is not None:
                values[spec.name] = _convert(spec.name, type(getattr(_DEFAULTS, spec.name)), given)
        if flags:
            raise ConfigError(f"unknown settings: {', '.join(sorted(flags))}")
        config = cls(**values)
        config._check()
        return config

    def usable_memory_mib(self, machine_mib: int) -> int:
        """Memory that instances may really use in all, on a machine with so much."""
        return self.memory_mib or int(machine_mib * MEMORY_SHARE)

    def memory_end_mib(self, machine_mib: int) -> int:
        """Where instances that use more than that are held up: between the two is what they can
        still take while the worker ends one, blanks, and instances that are being cleared away."""
        usable_mib = self.usable_memory_mib(machine_mib)
        end_mib = usable_mib + min(usable_mib // 2, MOST_BEYOND_MIB)
        return max(usable_mib, min(end_mib, int(machine_mib * MEMORY_END_SHARE)))

    @property
    def host_names(self) -> frozenset[str]:
        """`host` and `allowed_hosts`, one by one."""
        allowed = (name.strip() for name in self.allowed_hosts.split(","))
        return frozenset(name for name in (self.host, *allowed) if name)

    def endpoint_of(self, service: str) -> str | None:
        """The URL of a service of `AWS_ENDPOINTS`; None where it has none, or is not one."""
        if service not in AWS_ENDPOINTS:
            return None
        return getattr(self, AWS_ENDPOINTS[service]) or self.aws_endpoint or None

    @property
    def source_host_rules(self) -> HostRules:
        """`event_source_hosts`."""
        return HostRules.parse(self.event_source_hosts)

    @property
    def mq_broker_places(self) -> Mapping[str, MqBroker]:
        """`mq_brokers` by name."""
        return parse_brokers(self.mq_brokers)

    def _check(self) -> None:
        bounds: tuple[tuple[str, float, float], ...] = (
            ("port", 0, 65535),
            ("drain_timeout_s", 0, 3600),
            ("blanks", 0, 1024),
            ("idle_timeout_s", 0.1, 7 * 86400),
            ("concurrency_target", 0.01, 1),
            ("queue_requests", 0, 1_000_000),
            ("scaling_rate", 0, 1_000_000),
            ("invocation_rate_factor", 0, 1_000_000),
            ("account_concurrency", 1, 1_000_000),
            ("event_concurrency", 1, 10_000),
            ("events_at_once", 1, 10_000),
            ("event_queue_events", 1, 1_000_000_000),
            ("event_queue_mib", 1, 1 << 24),
            ("event_store_mib", 1, 1 << 24),
            ("dead_events", 0, 1_000_000_000),
            ("dead_event_days", 0, 36_500),
            ("queue_timeout_s", 0.01, 900),
            ("max_schedules", 0, 1_000_000_000),
            ("max_event_sources", 0, 100_000),
            ("memory_mib", 0, 1 << 24),
            ("memory_oversubscription", 0.1, 1000),
            ("cpu_oversubscription", 0, 1000),
        )
        for name, low, high in bounds:
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} must be between {low} and {high}")
        if not _ZONE.fullmatch(self.zone):
            raise ConfigError("zone must be up to 64 letters, digits, dots, dashes, underscores")
        if self.keep_alive not in KEEP_ALIVE_POLICIES:
            raise ConfigError(f"keep_alive must be one of {', '.join(KEEP_ALIVE_POLICIES)}")
        for name in ("aws_endpoint", *AWS_ENDPOINTS.values()):
            if (url := getattr(self, name)) and not _is_endpoint(url):
                raise ConfigError(f"{name} must be a URL like http://127.0.0.1:4566, not {url!r}")
        if bool(self.aws_access_key_id) != bool(self.aws_secret_access_key):
            raise ConfigError("aws_access_key_id and aws_secret_access_key go together")
        for name, parse in (("event_source_hosts", HostRules.parse), ("mq_brokers", parse_brokers)):
            try:
                parse(getattr(self, name))
            except ValueError as error:
                raise ConfigError(f"{name} must have {error}") from error
        if self.terminal and self.isolation is not IsolationMode.NONE:
            raise ConfigError("a terminal for functions needs isolation none")


def no_endpoint(service: str) -> str:
    """What to tell somebody who names a target or a source of a service that is nowhere here."""
    if service not in AWS_ENDPOINTS:
        return f"This server does not reach the service {service}."
    variable = PREFIX + AWS_ENDPOINTS[service].upper()
    return (
        f"This server does not know where {service} is: set {PREFIX}AWS_ENDPOINT or {variable} "
        "when it is started."
    )


def _is_endpoint(url: str) -> bool:
    """A scheme, a host, perhaps a port and a path; no user, password, query or fragment."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and not any(mark in url for mark in "@?#")
        and url.isprintable()
        and " " not in url
    )


def _convert(name: str, kind: Any, given: Any) -> Any:
    if kind is bool and isinstance(given, str):
        truth = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if given.lower() not in truth:
            raise ConfigError(f"{name} must be true or false, not {given!r}")
        return truth[given.lower()]
    if issubclass(kind, Path):
        return Path(given)
    try:
        return kind(given)
    except ValueError as error:
        choices = f" one of {', '.join(kind)}" if issubclass(kind, StrEnum) else f" {kind.__name__}"
        raise ConfigError(f"{name} must be{choices}, not {given!r}") from error


_DEFAULTS = Config()
