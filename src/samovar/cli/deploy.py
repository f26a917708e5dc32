"""`samovar deploy`: creates or updates a function from a path, and waits till it is active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samovar.cli.endpoint import Endpoint
from samovar.cli.event_rules import EventRules, apply_rules
from samovar.cli.failure import CommandError
from samovar.cli.instance_rules import LIVE, InstanceRules, apply_instance_rules
from samovar.cli.layer import version_arn
from samovar.cli.package import HANDLER_FUNCTIONS, Package, PackageError, build
from samovar.cli.progress import working

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

FALLBACK_RUNTIME = "python3.11"
ROLE = "arn:aws:iam::000000000000:role/samovar"
"""AWS demands one; the platform checks its form only."""

POLL_S = 0.1
ACTIVE_TIMEOUT_S = 120
WAITER = {"Delay": POLL_S, "MaxAttempts": int(ACTIVE_TIMEOUT_S / POLL_S)}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the flags say of the function; None: as it is, or AWS's default for a new one."""

    handler: str | None = None
    runtime: str | None = None
    memory_mib: int | None = None
    timeout_s: int | None = None
    environment: Mapping[str, str] | None = None
    layers: Sequence[str] | None = None
    """As the flags name them, until `put` has found their ARNs."""
    dead_letter_arn: str | None = None
    """"": none any more."""
    concurrency: int | None = None
    """Requests at once in one instance."""
    snap_start: bool | None = None
    capacity_provider_arn: str = ""
    """The server's, where `concurrency` is given: `put` finds it."""

    def as_request(self) -> dict[str, Any]:
        """In the words of the AWS API, without what was not given."""
        request = {
            "Handler": self.handler,
            "Runtime": self.runtime,
            "MemorySize": self.memory_mib,
            "Timeout": self.timeout_s,
            "Environment": None if self.environment is None else {"Variables": self.environment},
            "Layers": self.layers,
            "DeadLetterConfig": (
                None if self.dead_letter_arn is None else {"TargetArn": self.dead_letter_arn}
            ),
            "CapacityProviderConfig": self._capacity_provider(),
            "SnapStart": (
                None
                if self.snap_start is None
                else {"ApplyOn": "PublishedVersions" if self.snap_start else "None"}
            ),
        }
        return {key: value for key, value in request.items() if value is not None}

    def _capacity_provider(self) -> dict[str, Any] | None:
        if self.concurrency is None:
            return None
        config = {
            "CapacityProviderArn": self.capacity_provider_arn,
            "PerExecutionEnvironmentMaxConcurrency": self.concurrency,
        }
        return {"LambdaManagedInstancesCapacityProviderConfig": config}


def deploy(
    endpoint: Endpoint,
    path: Path,
    name: str | None,
    settings: Settings,
    rules: EventRules,
    instances: InstanceRules,
) -> str:
    """Make the server's function what the path, the settings and the rules of its events and of
    its instances say; return what was done."""
    with working(f"packing {path}"):
        package = build(path)
    name = name or package.name
    with working(f"deploying {name}, {len(package.zip_bytes) / 1e3:,.0f} kB"):
        client = endpoint.lambda_client()
        done = put(endpoint, client, name, package, settings)
        if rules != EventRules():
            with endpoint.answers():
                changed = apply_rules(client, name, rules)
            done = done or ("updated (events)" if changed else "")
        if instances != InstanceRules():
            with endpoint.answers():
                more = apply_instance_rules(client, name, instances)
            done = done or (f"updated ({', '.join(more)})" if more else "")
    qualifier = f" --qualifier {LIVE}" if instances.of_versions else ""
    return f"{name} {done or 'is up to date'}; call it with: samovar invoke {name}{qualifier}"


def put(
    endpoint: Endpoint, client: LambdaClient, name: str, package: Package, settings: Settings
) -> str:
    """Make the function `name` that; return what was done when it is active, "" for nothing."""
    with endpoint.answers():
        if settings.layers:
            found = [version_arn(client, layer) for layer in settings.layers]
            settings = replace(settings, layers=found)
        if settings.concurrency is not None:
            provider = client.get_capacity_provider(CapacityProviderName="default")
            arn = provider["CapacityProvider"]["CapacityProviderArn"]
            settings = replace(settings, capacity_provider_arn=arn)
        current = _current(client, name)
        if current is None:
            done = _create(endpoint, client, name, package, settings)
        else:
            done = _update(client, name, package, settings, current)
        _wait(client, name, "function_active_v2")
    return done


def parse_environment(assignments: list[str]) -> dict[str, str]:
    """`K=V` … → a mapping."""
    environment: dict[str, str] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise CommandError(
                f"--env {assignment} is no assignment", "say --env NAME=VALUE", exit_status=2
            )
        environment[key] = value
    return environment


def _current(client: LambdaClient, name: str) -> Mapping[str, Any] | None:
    try:
        return client.get_function_configuration(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        return None


def _create(
    endpoint: Endpoint, client: LambdaClient, name: str, package: Package, settings: Settings
) -> str:
    settings = replace(
        settings,
        handler=settings.handler or _handler_of(package, settings.runtime),
        runtime=settings.runtime or _newest_python(endpoint),
    )
    client.create_function(
        FunctionName=name,
        Role=ROLE,
        Code={"ZipFile": package.zip_bytes},
        **settings.as_request(),
    )
    return "created"


def _update(
    client: LambdaClient,
    name: str,
    package: Package,
    settings: Settings,
    current: Mapping[str, Any],
) -> str:
    """Configuration first would run old code with a new handler; so code goes first."""
    changed = []
    _wait(client, name, "function_updated_v2")
    if current["CodeSha256"] != package.code_sha256:
        client.update_function_code(FunctionName=name, ZipFile=package.zip_bytes)
        _wait(client, name, "function_updated_v2")
        changed.append("code")
    in_layers = bool(current.get("Layers"))
    if settings.handler is None and not in_layers and not package.may_hold(current["Handler"]):
        settings = replace(settings, handler=_handler_of(package, settings.runtime))
    wanted = settings.as_request()
    if "CapacityProviderConfig" in wanted:  # what else there is of it stays
        [(member, asked)] = wanted["CapacityProviderConfig"].items()
        known = current.get("CapacityProviderConfig", {}).get(member, {})
        wanted["CapacityProviderConfig"] = {member: {**known, **asked}}
    now = {
        **current,
        "Layers": [layer["Arn"] for layer in current.get("Layers", ())],
        "DeadLetterConfig": current.get("DeadLetterConfig") or {"TargetArn": ""},
        "SnapStart": {"ApplyOn": current.get("SnapStart", {}).get("ApplyOn", "None")},
    }
    if any(now.get(key) != value for key, value in wanted.items()):
        client.update_function_configuration(FunctionName=name, **wanted)
        _wait(client, name, "function_updated_v2")
        changed.append("configuration")
    return f"updated ({' and '.join(changed)})" if changed else ""


def _wait(client: LambdaClient, name: str, condition: Any) -> None:
    from botocore.exceptions import WaiterError

    try:
        client.get_waiter(condition).wait(FunctionName=name, WaiterConfig=WAITER)
    except WaiterError as error:
        answer: Any = error.last_response
        if "Error" in answer:
            raise CommandError(f"{name}: {answer['Error'].get('Message', 'refused')}") from error
        state = answer.get("Configuration", answer)
        reason = state.get("StateReason") or state.get("LastUpdateStatusReason")
        raise CommandError(
            f"{name} did not become active: {reason or 'the server gives no reason'}",
            "mend it and deploy again",
        ) from error


def _newest_python(endpoint: Endpoint) -> str:
    """The newest runtime that the server has; it may be on another machine than this."""
    versions = []
    for runtime in endpoint.health().get("runtimes", ()):
        number = str(runtime).removeprefix("python").split(".")
        if str(runtime).startswith("python") and all(part.isdigit() for part in number):
            versions.append((tuple(map(int, number)), str(runtime)))
    return max(versions)[1] if versions else FALLBACK_RUNTIME


def _handler_of(package: Package, runtime: str | None) -> str:
    if runtime and runtime.startswith("provided"):
        return "bootstrap"  # which may do with it what it likes
    if package.handler is not None:
        return package.handler
    functions = " or ".join(f"`{name}`" for name in HANDLER_FUNCTIONS)
    raise PackageError(
        "no handler found", f"define {functions} in app.py, or say --handler module.function"
    )
