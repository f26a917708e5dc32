"""Wrapper scripts (AWS_LAMBDA_EXEC_WRAPPER), and Python functions as programs of their own."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.aws.runtimes import executables, invoke

PLAIN = '#!/bin/sh\nexec "$@"\n'

# As in AWS's documentation: options go before the last argument, the runtime's own script.
IMPORT_TIMES = """\
#!/bin/bash
args=("$@")
extra_args=("-X" "importtime")
args=("${args[@]:0:$#-1}" "${extra_args[@]}" "${args[@]: -1}")
exec "${args[@]}"
"""


@pytest.fixture
def wrapped(make_function, publish) -> Any:
    """Makes functions that a script starts: `wrapped(source, script, **config)`."""

    def make(source: Any, script: str = PLAIN, **config: Any) -> str:
        arn = publish.arn({}, Content={"ZipFile": executables({"wrapper": script})})
        variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"}
        return make_function(source, Layers=[arn], Environment={"Variables": variables}, **config)

    return make


def test_a_wrapper_adds_options_to_python(lambda_client, wrapped):
    name = wrapped("def handler(event, context): return event\n", IMPORT_TIMES)
    assert invoke(lambda_client, name, "tea")[:2] == ("tea", None)


def test_a_wrapper_sets_variables_for_node(lambda_client, wrapped, server):
    runtimes = [name for name in server.health()["runtimes"] if name.startswith("nodejs")]
    if not runtimes:
        pytest.skip("no Node.js on this machine")
    name = wrapped(
        {"app.mjs": "export const handler = async () => process.env.TEA"},
        '#!/bin/sh\nTEA=green exec "$@"\n',
        Runtime=runtimes[0],
        MemorySize=256,
    )
    assert invoke(lambda_client, name)[:2] == ("green", None)


CLOSING = '#!/bin/sh\nexec "$@" 3<&-\n'
SPAWNING = """\
#!/usr/bin/python3
import subprocess, sys
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""


@pytest.mark.parametrize("script", [CLOSING, SPAWNING])
def test_a_wrapper_need_not_hand_on_more_than_the_command_line(lambda_client, wrapped, script):
    name = wrapped("def handler(event, context): return event\n", script)
    for event in ("green", "black"):
        assert invoke(lambda_client, name, event)[:2] == (event, None)


@pytest.mark.parametrize("script", [CLOSING, SPAWNING])
def test_nor_need_one_for_node(lambda_client, wrapped, server, script):
    runtimes = [name for name in server.health()["runtimes"] if name.startswith("nodejs")]
    if not runtimes:
        pytest.skip("no Node.js on this machine")
    source = {"app.mjs": "export const handler = async (event) => event"}
    name = wrapped(source, script, Runtime=runtimes[0], MemorySize=256)
    for event in ("green", "black"):
        assert invoke(lambda_client, name, event)[:2] == (event, None)


def test_how_python_runs_under_a_bridge_is_no_runtime_to_choose(server):
    assert not [name for name in server.health()["runtimes"] if "bridge" in name]


def test_a_wrapper_that_does_not_start_the_runtime_fails_init(lambda_client, wrapped):
    name = wrapped("", "#!/bin/sh\nexit 3\n")
    value, error, _ = invoke(lambda_client, name)
    assert (value["errorType"], error) == ("Runtime.ExitError", "Unhandled")
    assert "exit status 3" in value["errorMessage"]


def test_a_wrapper_that_is_not_there_is_told_as_such(lambda_client, make_function):
    name = make_function(
        "", Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/no-such-thing"}}
    )
    value, error, _ = invoke(lambda_client, name)
    assert (value["errorType"], error) == ("Runtime.InvalidEntrypoint", "Unhandled")
    assert "fork/exec /opt/no-such-thing: no such file or directory" in value["errorMessage"]


# ---------------------------------------------------------------- the same in both ways

HANDLERS = {
    "an event and its context": """
        def handler(event, context):
            names = ("function_name", "function_version", "memory_limit_in_mb",
                     "log_group_name", "client_context", "tenant_id")
            return [event, {name: getattr(context, name) for name in names}]
    """,
    "where it is": """
        import os, sys
        def handler(event, context):
            path = [entry for entry in sys.path if not entry.startswith("/usr")]
            return [os.getcwd(), path, sys.argv, __name__, sorted(os.listdir("/proc/self/fd"))[:3]]
    """,
    "its environment": """
        import os
        def handler(event, context):
            ours = ("AWS_LAMBDA_EXEC_WRAPPER", "AWS_LAMBDA_RUNTIME_API", "PWD", "OLDPWD",
                    "_", "SHLVL", "LC_CTYPE", "AWS_LAMBDA_LOG_STREAM_NAME", "_X_AMZN_TRACE_ID")
            return {k: os.environ[k] for k in sorted(os.environ) if k not in ours}
    """,
    "an exception": """
        def handler(event, context):
            raise ValueError("no tea")
    """,
    "an exception with a cause": """
        def handler(event, context):
            try:
                {}["tea"]
            except KeyError as error:
                raise RuntimeError("none") from error
    """,
    "what is no JSON": "def handler(event, context): return {1, 2}\n",
    "what is too large": "def handler(event, context): return 'x' * 7_000_000\n",
    "a decimal": """
        import decimal
        def handler(event, context):
            return decimal.Decimal("1.50")
    """,
    "an exit": """
        import sys
        def handler(event, context):
            sys.exit(3)
    """,
    "no such function": "tea = 1\n",
    "a failing import": "import no_such_module\n",
    "a syntax error": "def handler(:\n",
    "an error in init": "raise ValueError('not today')\n",
    "an exit in init": "import sys; sys.exit(5)\n",
    "log lines": """
        import logging
        def handler(event, context):
            print("printed")
            logging.getLogger().warning("logged")
            return context.log("said")
    """,
    "a forked child that returns": """
        import os
        def handler(event, context):
            if os.fork():
                os.wait()
                return "parent"
            return "child"
    """,
}


def comparable(outcome: tuple[Any, Any, str], name: str) -> str:
    """An outcome without what differs from call to call."""
    value, error, log = outcome
    text = json.dumps([value, error, log.partition("END RequestId")[0]])
    text = text.replace(name, "NAME")
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text)
    text = re.sub(r"[\d.]+ ms", "N ms", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)


@pytest.mark.parametrize("what", HANDLERS)
def test_a_python_function_cannot_tell_how_it_is_run(lambda_client, make_function, wrapped, what):
    plain, other = make_function(HANDLERS[what]), wrapped(HANDLERS[what])
    for _ in range(2):
        assert comparable(invoke(lambda_client, other, {"tea": "é"}), other) == comparable(
            invoke(lambda_client, plain, {"tea": "é"}), plain
        )
