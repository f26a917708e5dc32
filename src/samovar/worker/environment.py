"""The environment variables of an instance.

The names and values that AWS defines:
https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
"""

from __future__ import annotations

from samovar.model.function import FunctionVersion
from samovar.model.instance import Initialization, InstanceId

_ONE_THREAD = dict.fromkeys(
    (
        *("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
        *("NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS"),
    ),
    "1",
)
"""Libraries of numbers start threads when they are loaded; a snapshot has no room for any. Who
sets one of these otherwise has its way, and no snapshot."""


def log_group(version: FunctionVersion) -> str:
    """The name of the log group, as AWS forms it."""
    return f"/aws/lambda/{version.id.name}"


def log_stream(version: FunctionVersion, instance: InstanceId, date: str) -> str:
    """The name of an instance's log stream; `date` is YYYY/MM/DD of its start, UTC."""
    return f"{date}/[{version.version}]{instance.removeprefix('i-'):0>32}"


def instance_environment(
    version: FunctionVersion,
    instance: InstanceId,
    task_root: str,
    layers_root: str | None,
    date: str,
    initialization: Initialization = Initialization.ON_DEMAND,
) -> dict[str, str]:
    """Return the whole environment of an instance: nothing of the platform's own leaks in."""
    opt = layers_root or "/opt"  # which is empty without layers
    names_language = not version.runtime.startswith("provided")
    execution = {"AWS_EXECUTION_ENV": f"AWS_Lambda_{version.runtime}"} if names_language else {}
    managed = version.capacity_provider is not None
    concurrency = {"AWS_LAMBDA_MAX_CONCURRENCY": str(version.concurrency)} if managed else {}
    log_names = {
        "AWS_LAMBDA_LOG_GROUP_NAME": log_group(version),
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream(version, instance, date),
    }
    if initialization is Initialization.SNAP_START:
        log_names = {}  # as on AWS: instances share what was there at the snapshot
    return {
        "LANG": "en_US.UTF-8",
        **(_ONE_THREAD if initialization is Initialization.SNAP_START else {}),
        "PATH": f"/var/lang/bin:/usr/local/bin:/usr/bin:/bin:{opt}/bin",
        "LD_LIBRARY_PATH": f"/var/lang/lib:/lib64:/usr/lib64:{task_root}:{task_root}/lib:{opt}/lib",
        "HOME": "/tmp",  # noqa: S108 - the instance's own; the only place that it can write to
        **version.environment,
        "TZ": version.environment.get("TZ", ":UTC"),
        "_HANDLER": version.handler,
        "AWS_REGION": version.id.region,
        "AWS_DEFAULT_REGION": version.id.region,
        **execution,
        **concurrency,
        "AWS_LAMBDA_FUNCTION_NAME": version.id.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(version.memory_mib),
        "AWS_LAMBDA_FUNCTION_VERSION": version.version,
        "AWS_LAMBDA_INITIALIZATION_TYPE": initialization.value,
        **log_names,
        # There is no role behind a function here. SDKs inside it want some credentials; these say
        # who calls (the account) and open nothing anywhere else.
        "AWS_ACCESS_KEY_ID": version.id.account,
        "AWS_SECRET_ACCESS_KEY": "samovar",
        "LAMBDA_TASK_ROOT": task_root,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
    }
