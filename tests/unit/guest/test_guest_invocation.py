"""What a handler is given, and what becomes of what it returns and prints."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from samovar.guest import wire
from tests.unit.guest.zygote import Answer, StartInstance, invoke_meta

ECHO = "def handler(event, context): return event"


@pytest.mark.parametrize(
    "event",
    [
        None,
        True,
        0,
        -1.5,
        "text",
        "\u00e9 \u2603 \U0001f600",
        "\ud800",
        [],
        {},
        {"a": [1, {"b": None}]},
    ],
    ids=repr,
)
def test_an_event_comes_back_from_an_echo(start: StartInstance, event: Any) -> None:
    answer = start(ECHO).invoke(event)
    if event == "\ud800" and answer.kind == wire.ERROR:
        # Python 3.12 and later write text as it is, and this is none.
        assert answer.json["errorType"] == "Runtime.MarshalError"
    else:
        assert (answer.kind, answer.json) == (wire.RESPONSE, event)


@pytest.mark.parametrize("size", [65_000, 65_536, 1_000_000, 6 * 1024 * 1024 - 2])
def test_a_large_event_comes_back_whole(start: StartInstance, size: int) -> None:
    instance = start(ECHO)
    assert instance.invoke("x" * size).json == "x" * size
    assert instance.invoke("still there").json == "still there"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("None", "null"),
        ("(1, 2)", "[1, 2]"),
        ("{'a': 1, 'b': [1]}", '{"a": 1, "b": [1]}'),
        ("{1: 2, None: 3}", '{"1": 2, "null": 3}'),
        ("float('nan')", "NaN"),
        ("float('inf')", "Infinity"),
        ("Decimal('1.10')", "1.10"),
        ("[Decimal('1E+3'), Decimal('NaN'), Decimal('-0.5'), '1.5']", '[1E+3, NaN, -0.5, "1.5"]'),
    ],
)
def test_a_result_is_written_as_json_the_way_aws_does(
    start: StartInstance, expression: str, text: str
) -> None:
    instance = start(f"from decimal import Decimal\ndef handler(e, c): return {expression}")
    assert instance.invoke() == Answer(wire.RESPONSE, {}, text.encode())


def test_text_outside_ascii_is_escaped_before_python_3_12_only(start: StartInstance) -> None:
    instance = start(
        "import sys\ndef handler(e, c): return [sys.version_info >= (3, 12), '\u00e9']"
    )
    assert instance.invoke().body in (b'[false, "\\u00e9"]', '[true, "\u00e9"]'.encode())


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("b'bytes'", "Object of type bytes is not JSON serializable"),
        ("{1, 2}", "Object of type set is not JSON serializable"),
        ("object", "Object of type type is not JSON serializable"),
        ("late()", "Object of type coroutine is not JSON serializable"),
        ("loop", "Circular reference detected"),
    ],
)
def test_a_result_that_is_no_json_is_a_marshal_error(
    start: StartInstance, expression: str, message: str
) -> None:
    source = "loop = []; loop.append(loop)\nasync def late(): pass\n"
    answer = start(f"{source}def handler(e, c): return {expression}").invoke()
    assert answer.meta == {"type": "Runtime.MarshalError"}
    assert answer.json == {
        "errorMessage": f"Unable to marshal response: {message}",
        "errorType": "Runtime.MarshalError",
        "requestId": "request-1",
        "stackTrace": [],
    }


def test_an_async_handler_is_not_awaited(start: StartInstance) -> None:
    answer = start("async def handler(e, c): return 1").invoke()
    assert answer.json["errorType"] == "Runtime.MarshalError"


@pytest.mark.parametrize("size", [6_291_556, 6_291_557])
def test_a_response_may_have_as_many_bytes_as_on_aws_and_no_more(
    start: StartInstance, size: int
) -> None:
    answer = start("def handler(size, c): return 'x' * (size - 2)").invoke(size)
    if size == 6_291_556:
        assert (answer.kind, len(answer.body)) == (wire.RESPONSE, size)
    else:
        assert answer.meta == {"type": "Function.ResponseSizeTooLarge"}
        assert answer.json == {
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": "Response payload size exceeded maximum allowed payload size"
            " (6291556 bytes).",
        }


def test_an_event_that_is_no_json_is_an_unmarshal_error(start: StartInstance) -> None:
    instance = start(ECHO)
    for body in (b"{", b"\xff", b"1 2", b'{"a": 1}}'):
        answer = instance.ask(wire.INVOKE, invoke_meta(), body)
        assert answer.json["errorType"] == "Runtime.UnmarshalError"
        assert answer.json["errorMessage"].startswith("Unable to unmarshal input: ")


def test_no_event_at_all_is_an_empty_object(start: StartInstance) -> None:
    assert start(ECHO).ask(wire.INVOKE, invoke_meta()).json == {}


def test_json_may_have_white_space_around_it(start: StartInstance) -> None:
    assert start(ECHO).ask(wire.INVOKE, invoke_meta(), b' \n{"a": 1}\n').json == {"a": 1}


def test_module_state_is_kept_between_invocations(start: StartInstance) -> None:
    instance = start("count = 0\ndef handler(e, c):\n  global count; count += 1; return count")
    assert [instance.invoke().json for _ in range(3)] == [1, 2, 3]


def test_frames_may_arrive_in_pieces_or_together(fork: StartInstance) -> None:
    instance = fork(ECHO)
    meta = {"handler": "app.handler", "task_root": str(instance.task_root), "env": {}}
    stream = wire.encode(wire.INIT, meta)
    stream += wire.encode(wire.INVOKE, invoke_meta(), b"1")
    for byte in stream[:20]:
        instance.channel.sendall(bytes([byte]))
    instance.channel.sendall(stream[20:])
    reader, frames = wire.FrameReader(), []
    while len(frames) < 2:
        frames += reader.feed(instance.channel.recv(10))
    assert [kind for kind, _, _ in frames] == [wire.READY, wire.RESPONSE]


CONTEXT_ENV = {
    "AWS_LAMBDA_FUNCTION_NAME": "greet",
    "AWS_LAMBDA_FUNCTION_VERSION": "7",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/greet",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[7]abc",
}


def test_the_context_has_every_attribute_that_aws_documents(start: StartInstance) -> None:
    source = """
        def handler(event, context):
            return {name: getattr(context, name) for name in event} | {
                "identity": [context.identity.cognito_identity_id,
                             context.identity.cognito_identity_pool_id]}
    """
    expected = {
        "function_name": "greet",
        "function_version": "7",
        "invoked_function_arn": "arn:aws:lambda:us-east-1:000000000000:function:greet:7",
        "memory_limit_in_mb": "256",
        "aws_request_id": "request-9",
        "log_group_name": "/aws/lambda/greet",
        "log_stream_name": "2026/01/01/[7]abc",
        "client_context": None,
        "tenant_id": None,
    }
    arn = expected["invoked_function_arn"]
    answer = start(source, env=CONTEXT_ENV).invoke(list(expected), id="request-9", arn=arn)
    assert answer.json == {**expected, "identity": [None, None]}


def test_the_client_context_is_parsed(start: StartInstance) -> None:
    source = """
        def handler(event, context):
            c = context.client_context
            return [c.custom, c.env, c.client.installation_id, c.client.app_title,
                    c.client.app_version_name, c.client.app_version_code,
                    c.client.app_package_name]
    """
    client = {"installation_id": "i", "app_title": "t", "app_version_name": "n"}
    text = json.dumps({"custom": {"a": 1}, "env": {"locale": "de"}, "client": client})
    answer = start(source).invoke(client_context=text)
    assert answer.json == [{"a": 1}, {"locale": "de"}, "i", "t", "n", None, None]


def test_a_client_context_that_is_no_json_object_is_an_error(start: StartInstance) -> None:
    instance = start(ECHO)
    for text in ("{", "[]", '{"client": 1}'):
        answer = instance.invoke(client_context=text)
        assert answer.json["errorType"] == "Runtime.LambdaContextUnmarshalError"


def test_the_context_can_carry_attributes_of_the_functions_own(start: StartInstance) -> None:
    assert start("def handler(e, c): c.mine = 1; return c.mine").invoke().json == 1


def test_the_remaining_time_counts_down_to_the_deadline_and_not_below_zero(
    start: StartInstance,
) -> None:
    instance = start("def handler(e, c): return c.get_remaining_time_in_millis()")
    remaining = instance.invoke(deadline_ms=int(time.time() * 1000) + 60_000).json
    assert 0 < remaining <= 60_000
    assert instance.invoke(deadline_ms=1).json == 0


def test_the_trace_id_is_in_the_environment_of_its_own_invocation(start: StartInstance) -> None:
    instance = start("import os\ndef handler(e, c): return os.environ.get('_X_AMZN_TRACE_ID')")
    assert instance.invoke(trace_id="Root=1-2-3;Sampled=1").json == "Root=1-2-3;Sampled=1"
    assert instance.invoke().json is None


def test_everything_printed_is_in_the_pipe_before_the_answer(start: StartInstance) -> None:
    source = """
        import os, sys
        print("at init", end="")
        def handler(event, context):
            print("line")
            print("to stderr", file=sys.stderr, end=";")
            sys.stdout.buffer.write(b"bytes;")
            context.log("context;")
            os.write(1, b"fd;")
            print("no end", end="")
    """
    instance = start(source)
    assert instance.output() == "at init"
    instance.invoke()
    printed = instance.output()
    for piece in ("line\n", "to stderr;", "bytes;", "context;", "fd;", "no end"):
        assert piece in printed


def test_the_root_logger_writes_the_line_that_aws_writes(start: StartInstance) -> None:
    source = """
        import logging
        logging.getLogger().setLevel("INFO")
        logging.info("at init")
        def handler(event, context):
            logging.getLogger("mine").warning("%s it is", "so")
            logging.debug("not this")
    """
    instance = start(source)
    instance.invoke(id="request-2")
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(
        rf"\[INFO\]\t{stamp}\t\tat init\n\[WARNING\]\t{stamp}\trequest-2\tso it is\n",
        instance.output(),
    )


def test_each_entry_of_a_log_begins_its_own_line(start: StartInstance) -> None:
    source = """
        import logging
        def handler(event, context):
            try: 1 / 0
            except ZeroDivisionError: logging.exception("oh")
            logging.getLogger().handlers[0].setFormatter(logging.Formatter("%(message)s"))
            logging.error("plain")
            context.log("one")
            context.log("two\\n")
    """
    instance = start(source)
    instance.invoke()
    lines = instance.output().splitlines()
    assert lines[0].endswith("\toh")
    assert lines[-4:] == ["ZeroDivisionError: division by zero", "plain", "one", "two"]


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("DEBUG", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]),
        ("INFO", ["INFO", "WARNING", "ERROR", "CRITICAL"]),
        (None, ["WARNING", "ERROR", "CRITICAL"]),
        ("CRITICAL", ["CRITICAL"]),
    ],
)
def test_logging_obeys_the_level_that_a_function_sets(
    start: StartInstance, level: str | None, shown: list[str]
) -> None:
    source = """
        import logging
        def handler(level, context):
            if level: logging.getLogger().setLevel(level)
            for name in ("debug", "info", "warning", "error", "critical"):
                getattr(logging, name)("")
    """
    instance = start(source)
    instance.invoke(level)
    assert re.findall(r"^\[(\w+)\]\t", instance.output(), re.MULTILINE) == shown


def test_a_warning_is_in_the_log(start: StartInstance) -> None:
    instance = start("import warnings\ndef handler(e, c): warnings.warn('careful')")
    assert instance.invoke().kind == wire.RESPONSE
    assert "app.py:2: UserWarning: careful\n" in instance.output()


def test_what_a_stdout_of_the_functions_own_holds_is_in_the_pipe_before_the_answer(
    start: StartInstance,
) -> None:
    source = """
        import io, os, sys
        def handler(event, context):
            sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False))
            print("held")
    """
    instance = start(source)
    instance.invoke()
    assert instance.output() == "held\n"


def test_text_that_is_not_utf8_can_be_logged(start: StartInstance) -> None:
    source = r"""
        import logging
        def handler(event, context):
            logging.error("\ud800")
            context.log("\udcff\n")
    """
    instance = start(source)
    assert instance.invoke().kind == wire.RESPONSE
    assert "\\ud800\n\\udcff\n" in instance.output()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_more_than_a_pipe_holds_can_be_printed(start: StartInstance, stream: str) -> None:
    loop = f"for n in range(20000): print(n, file=sys.{stream})"
    instance = start(f"import sys\ndef handler(e, c):\n  {loop}")
    assert instance.invoke().kind == wire.RESPONSE
    assert instance.output().splitlines() == [str(n) for n in range(20000)]
