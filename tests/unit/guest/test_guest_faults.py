"""What a caller and the log are told when a function fails: AWS's documents, always bounded."""

from __future__ import annotations

import json
import re

import pytest

from samovar.guest import wire
from tests.unit.guest.zygote import INTERPRETERS, VERSIONS, StartInstance


@pytest.mark.parametrize("version", VERSIONS)
def test_the_loop_is_tested_on_this_version_of_python(version: str) -> None:
    if version not in INTERPRETERS:
        pytest.skip(f"no CPython {version} on this machine")


def test_an_exception_is_told_with_its_type_message_and_stack(start: StartInstance) -> None:
    source = """\
        def inner():
            raise ValueError("boom")
        def handler(event, context):
            inner()
    """
    instance = start(source)
    answer = instance.invoke(id="request-3")
    app = instance.task_root / "app.py"
    assert (answer.kind, answer.meta) == (wire.ERROR, {"type": "ValueError"})
    assert answer.json == {
        "errorMessage": "boom",
        "errorType": "ValueError",
        "requestId": "request-3",
        "stackTrace": [
            f'  File "{app}", line 4, in handler\n    inner()\n',
            f'  File "{app}", line 2, in inner\n    raise ValueError("boom")\n',
        ],
    }
    assert instance.output() == (
        "[ERROR] ValueError: boom\nTraceback (most recent call last):\n"
        f'  File "{app}", line 4, in handler\n    inner()\n'
        f'  File "{app}", line 2, in inner\n    raise ValueError("boom")\n'
    )


def test_the_causes_of_an_exception_are_left_out_as_on_aws(start: StartInstance) -> None:
    source = """\
        def handler(event, context):
            try: 1 / 0
            except ZeroDivisionError as error: raise KeyError("key") from error
    """
    answer = start(source).invoke()
    assert (answer.json["errorType"], answer.json["errorMessage"]) == ("KeyError", "'key'")
    assert len(answer.json["stackTrace"]) == 1


def test_an_instance_serves_on_after_an_exception(start: StartInstance) -> None:
    instance = start("def handler(e, c): return 1 / e")
    assert instance.invoke(0).json["errorMessage"] == "division by zero"
    assert instance.invoke(1).json == 1.0


def test_a_handler_with_wrong_parameters_has_no_stack_of_ours(start: StartInstance) -> None:
    answer = start("def handler(event): pass").invoke()
    assert answer.json["errorType"] == "TypeError"
    assert "takes 1 positional argument but 2 were given" in answer.json["errorMessage"]
    assert answer.json["stackTrace"] == []


def test_endless_recursion_is_told_in_few_lines(start: StartInstance) -> None:
    instance = start("def handler(e, c): return handler(e, c)")
    answer = instance.invoke()
    assert answer.json["errorType"] == "RecursionError"
    assert re.search(r"Previous line repeated \d+ more times", answer.json["stackTrace"][-1])
    assert len(answer.json["stackTrace"]) < 10


HOSTILE = {
    "a __str__ that raises": "class E(Exception):\n  def __str__(self): raise TypeError\nraise E",
    "a message with a broken __repr__": (
        "class R:\n  def __repr__(self): raise OSError\nraise KeyError(R())"
    ),
    "a message of a text class of its own": (
        "class S(str):\n  def __len__(self): raise KeyError\n  endswith = __getitem__ = __len__\n"
        "class E(Exception):\n  def __str__(self): return S('x')\nraise E"
    ),
    "a __class__ that raises": (
        "class E(Exception):\n  @property\n  def __class__(self): raise OSError\nraise E"
    ),
    "a __class__ that lies": (
        "from samovar.guest.faults import FaultError\n"
        "class E(Exception): __class__ = FaultError\nraise E"
    ),
    "a __traceback__ that raises": (
        "class E(Exception):\n  @property\n  def __traceback__(self): raise OSError\nraise E"
    ),
    "a __getattribute__ that raises": (
        "class E(Exception):\n  def __getattribute__(self, n): raise OSError\nraise E"
    ),
    "a __str__ that is no text": "class E(Exception):\n  def __str__(self): return 1\nraise E",
    "a message of many megabytes": "raise ValueError('\\U0001f600' * 20_000_000)",
    "a message of surrogates": "raise ValueError('\\ud800' * 1000)",
    "a type with a long name": "raise type('E' * 1_000_000, (Exception,), {})",
    "a type with an odd name": "raise type('\\ud800\\n', (Exception,), {})",
    "a metaclass that hides the name": (
        "class M(type):\n  @property\n  def __name__(self): raise KeyError\n"
        "class E(Exception, metaclass=M): pass\nraise E"
    ),
    "a stack of many frames": (
        "import sys\nsys.setrecursionlimit(20000)\n"
        "f = lambda n: g(n - 1)\ng = lambda n: f(n - 1) if n > 0 else 1 / 0\ng(9000)"
    ),
    "a line of many megabytes": "exec(compile('x = 1 / 0;' + ' ' * 10**7, 'app.py', 'exec'))",
    "a broken linecache": "import linecache\nlinecache.checkcache = None\nraise ValueError",
    "a broken json": "import json\njson.dumps = json.JSONEncoder.encode = None\nraise ValueError",
    "a broken traceback": "import traceback\ntraceback.extract_tb = None\nraise ValueError",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_exception_makes_a_bounded_document(start: StartInstance, body: str) -> None:
    lines = "\n".join("    " + line for line in body.splitlines())
    instance = start(f"def handler(event, context):\n    if event: return event\n{lines}")
    answer = instance.invoke()
    assert answer.kind == wire.ERROR
    assert len(answer.body) < wire.MAX_BODY_BYTES
    assert set(answer.json) == {"errorMessage", "errorType", "requestId", "stackTrace"}
    instance.output()
    assert instance.invoke("alive").json == "alive"


INIT_ERRORS = {
    "a handler without a dot": (
        "app",
        "",
        "Runtime.MalformedHandlerName",
        "Bad handler 'app': not enough values to unpack (expected 2, got 1)",
    ),
    "a module that is not there": (
        "nope.handler",
        "",
        "Runtime.ImportModuleError",
        "Unable to import module 'nope': No module named 'nope'",
    ),
    "a module that imports what is not there": (
        "app.handler",
        "import absent.thing",
        "Runtime.ImportModuleError",
        "Unable to import module 'app': No module named 'absent'",
    ),
    "a handler that is not there": (
        "app.nope",
        "",
        "Runtime.HandlerNotFound",
        "Handler 'nope' missing on module 'app'",
    ),
    "a module that is built into Python": (
        "time.sleep",
        "",
        "Runtime.BuiltInModuleConflict",
        "Cannot use built-in module time as a handler module",
    ),
    "a syntax error": (
        "app.handler",
        "x = 1\ndef handler(:\n    pass\n",
        "Runtime.UserCodeSyntaxError",
        "Syntax error in module 'app': invalid syntax (app.py, line 2)",
    ),
    "an exception while importing": ("app.handler", "{}['key']", "KeyError", "'key'"),
    "an empty module name": (".handler", "", "ValueError", "Empty module name"),
}


@pytest.mark.parametrize(
    ("handler", "source", "kind", "message"), INIT_ERRORS.values(), ids=INIT_ERRORS.keys()
)
def test_init_fails_with_awss_words(
    fork: StartInstance, handler: str, source: str, kind: str, message: str
) -> None:
    instance = fork(source)
    answer = instance.init(handler)
    assert (answer.kind, answer.meta) == (wire.INIT_ERROR, {})
    assert (answer.json["errorType"], answer.json["errorMessage"]) == (kind, message)
    assert answer.json["requestId"] == ""
    assert instance.output().startswith(f"[ERROR] {kind}: {message}\nTraceback (most recent")
    assert instance.wait() == 1


def test_a_syntax_error_in_a_line_of_megabytes_makes_a_bounded_document(
    fork: StartInstance,
) -> None:
    answer = fork("raise SyntaxError('no', ('app.py', 1, 1, 'y' * 8_000_000))").init()
    assert answer.json["errorType"] == "Runtime.UserCodeSyntaxError"
    assert len(answer.body) < wire.MAX_BODY_BYTES


def test_an_exception_group_is_told_as_itself(start: StartInstance) -> None:
    source = """
        def handler(event, context):
            try: group = ExceptionGroup
            except NameError: return "before Python 3.11"
            raise group("several", [ValueError("one"), KeyError("two")])
    """
    answer = start(source).invoke()
    if answer.kind == wire.ERROR:
        assert answer.json["errorType"] == "ExceptionGroup"
        assert answer.json["errorMessage"] == "several (2 sub-exceptions)"
        assert len(answer.json["stackTrace"]) == 1


def test_an_exception_without_a_message_is_told_by_its_type(start: StartInstance) -> None:
    instance = start("def handler(e, c): raise KeyError")
    assert instance.invoke().json["errorMessage"] == ""
    assert instance.output().startswith("[ERROR] KeyError\nTraceback")


def test_a_syntax_error_shows_its_line(fork: StartInstance) -> None:
    instance = fork("x = 1\ndef handler(:\n    pass\n")
    [line] = instance.init().json["stackTrace"]
    assert line == f'  File "{instance.task_root}/app.py" Line 2\n    def handler(:\n'


def test_an_exception_while_importing_shows_the_line_that_raised(fork: StartInstance) -> None:
    instance = fork("x = 1\nraise RuntimeError()\n")
    stack = instance.init().json["stackTrace"]
    app = instance.task_root / "app.py"
    assert stack[-1] == f'  File "{app}", line 2, in <module>\n    raise RuntimeError()\n'
    assert not any("samovar" in line for line in stack)


def test_code_that_is_not_there_is_an_init_error(fork: StartInstance) -> None:
    instance = fork()
    init = {"handler": "app.handler", "task_root": "/absent/task", "env": {}}
    answer = instance.ask(wire.INIT, init)
    assert answer.kind == wire.INIT_ERROR
    assert answer.json["errorType"] == "FileNotFoundError"


def test_an_error_document_is_json_that_any_parser_takes(start: StartInstance) -> None:
    answer = start("def handler(e, c): raise ValueError('\\ud800 \\x00 \\u2028')").invoke()
    assert json.loads(answer.body.decode("ascii"))["errorMessage"] == "\ud800 \0 \u2028"
