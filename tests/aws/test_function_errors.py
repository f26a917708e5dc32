"""Functions that fail: each failure with AWS's message and shape, and the next call works."""

from __future__ import annotations

import base64
import json

import pytest


def failure_of(client, name: str, payload: bytes = b"{}") -> tuple[dict, str]:
    """Invoke; return the error document and the log tail."""
    answer = client.invoke(FunctionName=name, Payload=payload, LogType="Tail")
    assert answer["StatusCode"] == 200
    assert answer["FunctionError"] == "Unhandled"
    log = base64.b64decode(answer["LogResult"]).decode(errors="replace")
    return json.loads(answer["Payload"].read()), log


def test_an_exception_has_type_message_and_stack(lambda_client, make_function):
    name = make_function("""
        class TeaError(Exception): pass
        def handler(event, context):
            raise TeaError("too cold")
    """)
    error, log = failure_of(lambda_client, name)
    assert error["errorType"] == "TeaError"
    assert error["errorMessage"] == "too cold"
    assert error["stackTrace"] == [
        '  File "/var/task/app.py", line 4, in handler\n    raise TeaError("too cold")\n'
    ]
    assert "[ERROR] TeaError: too cold\nTraceback (most recent call last):" in log


@pytest.mark.parametrize(
    ("source", "handler", "error_type", "words"),
    [
        ("import nothing_like_it", "app.handler", "Runtime.ImportModuleError",
         "Unable to import module 'app': No module named 'nothing_like_it'"),
        ("x = 1", "missing.handler", "Runtime.ImportModuleError",
         "Unable to import module 'missing': No module named 'missing'"),
        ("x = 1", "app.handler", "Runtime.HandlerNotFound",
         "Handler 'handler' missing on module 'app'"),
        ("x = 1", "app", "Runtime.MalformedHandlerName",
         "Bad handler 'app': not enough values to unpack (expected 2, got 1)"),
        ("def broken(:", "app.handler", "Runtime.UserCodeSyntaxError",
         "Syntax error in module 'app'"),
        ("raise ValueError('at import')", "app.handler", "ValueError", "at import"),
        ("raise SystemExit(4)", "app.handler", "Runtime.ExitError", "exit status 4"),
    ],
)  # fmt: skip
def test_a_failed_init_is_the_answer(
    lambda_client, make_function, source, handler, error_type, words
):
    error, _ = failure_of(lambda_client, make_function(source, Handler=handler))
    assert error["errorType"] == error_type
    assert words in error["errorMessage"]


@pytest.mark.parametrize(
    ("statement", "error_type", "words"),
    [
        ("sys.exit(3)", "Runtime.ExitError", "Runtime exited with error: exit status 3"),
        ("sys.exit(0)", "Runtime.ExitError", "Runtime exited without providing a reason"),
        ("os._exit(7)", "Runtime.ExitError", "Runtime exited with error: exit status 7"),
        ("os.abort()", "Runtime.ExitError", "Runtime exited with error: signal: aborted"),
        ("ctypes.string_at(0)", "Runtime.ExitError", "signal: segmentation fault"),
        ("os.kill(os.getpid(), 9)", "Runtime.ExitError", "signal: killed"),
        ("os.closerange(3, 1024)", "Runtime.ExitError", "Runtime exited"),
        ("return object()", "Runtime.MarshalError", "is not JSON serializable"),
        ("return b'bytes'", "Runtime.MarshalError", "is not JSON serializable"),
        ("def f(): f()\n        f()", "RecursionError", "maximum recursion depth"),
        ("raise Exception('x' * 1_000_000)", "Exception", "xxx"),
    ],
)  # fmt: skip
def test_a_crash_is_told_and_the_next_call_works(
    lambda_client, make_function, statement, error_type, words
):
    name = make_function(f"""
import ctypes, os, sys
def handler(event, context):
    if event:
        {statement}
    return "fine"
""")
    error, log = failure_of(lambda_client, name, b"1")
    assert error["errorType"] == error_type
    assert words in error["errorMessage"]
    assert "REPORT RequestId" in log
    assert lambda_client.invoke(FunctionName=name, Payload=b"0")["Payload"].read() == b'"fine"'


def test_a_pid_one_that_signals_itself_cannot_be_a_surprise(lambda_client, make_function):
    name = make_function(
        "import os\ndef handler(e, c):\n    os.kill(os.getpid(), 15)\n    return 1"
    )
    answer = lambda_client.invoke(FunctionName=name)
    assert answer["Payload"].read()  # either it survives (pid 1 ignores it) or it is an ExitError


def test_a_timeout_is_told_in_the_words_of_aws(lambda_client, make_function):
    name = make_function(
        "import time\ndef handler(e, c):\n    while e: time.sleep(0.01)\n    return 'fine'",
        Timeout=1,
    )
    error, log = failure_of(lambda_client, name, b"1")
    assert error["errorType"] == "Sandbox.Timedout"
    assert error["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert "Status: timeout" in log
    answer = lambda_client.invoke(FunctionName=name, Payload=b"0")
    assert answer["Payload"].read() == b'"fine"'
    started = answer["ResponseMetadata"]["HTTPHeaders"]["x-samovar-start"]
    assert started.startswith("cold; cause=replaced")


def test_ignoring_signals_does_not_outlive_the_timeout(lambda_client, make_function):
    name = make_function(
        """
        import signal
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN)
        def handler(event, context):
            while True: pass
        """,
        Timeout=1,
    )
    error, _ = failure_of(lambda_client, name)
    assert "Task timed out after 1.00 seconds" in error["errorMessage"]


def test_too_much_memory_ends_the_instance_alone(lambda_client, make_function, server):
    if "memory" not in server.health()["isolation"]["layers"]:
        pytest.skip("this machine cannot limit the memory of an instance as a whole")
    hungry = make_function(
        "def handler(e, c):\n    if e: x = bytearray(400 << 20)\n    return 'fine'", Timeout=20
    )
    bystander = make_function("n = 0\ndef handler(e, c):\n    global n\n    n += 1\n    return n")
    lambda_client.invoke(FunctionName=bystander)
    error, log = failure_of(lambda_client, hungry, b"1")
    assert error["errorType"] == "Runtime.OutOfMemory"
    assert "signal: killed" in error["errorMessage"]
    assert "Max Memory Used: 128 MB" in log
    assert lambda_client.invoke(FunctionName=hungry, Payload=b"0")["Payload"].read() == b'"fine"'
    assert lambda_client.invoke(FunctionName=bystander)["Payload"].read() == b"2"


def test_a_background_child_does_not_answer_for_its_parent(lambda_client, make_function):
    name = make_function("""
        import os
        def handler(event, context):
            pid = os.fork()
            return "child" if pid == 0 else "parent"
    """)
    for _ in range(3):
        assert lambda_client.invoke(FunctionName=name)["Payload"].read() == b'"parent"'
