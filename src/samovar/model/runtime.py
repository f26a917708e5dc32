"""What AWS defines of the environment that every runtime runs in; what a runtime needs here."""

from __future__ import annotations

import re

RESERVED_ENVIRONMENT = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
    }
)
"""What a function's own configuration may not set."""

_NEEDS = (
    (r"nodejs(\d+)\.x", "needs Node.js {0}: `node` in /usr/local/bin or /usr/bin"),
    (r"python(3\.\d+)", "needs CPython {0}: `python{0}` on the server's path"),
    (r"(?:java|dotnet|ruby|go).*", "can be brought along as a `bootstrap` on provided.al2023"),
)
"""Pattern of a runtime's name → what to say where it is not offered."""


def what_is_missing(runtime: str) -> str:
    """What a machine that does not offer a runtime would need for it, to end a sentence with."""
    for pattern, needs in _NEEDS:
        if match := re.fullmatch(pattern, runtime):
            return f"; it {needs.format(*match.groups())}"
    return ""
