"""Node.js functions: each kind of handler, what it sees, and how it fails."""

from __future__ import annotations

import base64
import json

import pytest

from tests.aws.runtimes import invoke


@pytest.fixture(scope="module")
def node(server) -> str:
    """A Node.js runtime that the server has."""
    names = [name for name in server.health()["runtimes"] if name.startswith("nodejs")]
    if not names:
        pytest.skip("this machine has no Node.js")
    return names[-1]


@pytest.fixture
def make_node(make_function, node):
    """Creates functions from files by name; a single source is app.js."""

    def make(files, **config):
        files = {"app.js": files} if isinstance(files, str) else files
        return make_function(files, Runtime=node, **{"MemorySize": 256} | config)

    return make


DOUBLERS = {
    "async": "exports.handler = async (event) => event * 2",
    "callback": "exports.handler = (event, context, callback) => callback(null, event * 2)",
    "later": "exports.handler = (e, c, callback) => { setTimeout(() => callback(null, e * 2), 5) }",
    "promise": "exports.handler = (event) => Promise.resolve(event * 2)",
    "thenable": "exports.handler = (event) => ({then: (resolve) => resolve(event * 2)})",
    "succeed": "exports.handler = (event, context) => context.succeed(event * 2)",
    "done": "exports.handler = (event, context) => context.done(null, event * 2)",
}


@pytest.mark.parametrize("kind", DOUBLERS)
def test_each_kind_of_handler_works(lambda_client, make_node, kind):
    name = make_node(DOUBLERS[kind])
    for number in range(3):
        assert invoke(lambda_client, name, number)[:2] == (number * 2, None)


MODULES = {
    "mjs": ({"app.mjs": "export const handler = async (event) => import.meta.url"}, "app.handler"),
    "type module": (
        {"app.js": "export const handler = async () => import.meta.url",
         "package.json": '{"type": "module"}'},
        "app.handler",
    ),
    "top-level await": (
        {"app.mjs": "const url = await Promise.resolve(import.meta.url);"
         "export const handler = async () => url"},
        "app.handler",
    ),
    "cjs": ({"app.cjs": "exports.handler = async () => __filename"}, "app.handler"),
    "folder": ({"src/app.js": "exports.handler = async () => __filename"}, "src/app.handler"),
    "nested": ({"app.js": "exports.a = {b: {c: async () => __filename}}"}, "app.a.b.c"),
    "dependency": (
        {"app.js": "exports.handler = require('tea').handler",
         "node_modules/tea/index.js": "exports.handler = async () => __filename"},
        "app.handler",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODULES)
def test_each_kind_of_module_is_found(lambda_client, make_node, kind):
    files, handler = MODULES[kind]
    value, error, log = invoke(lambda_client, make_node(files, Handler=handler))
    assert error is None, (value, log)
    assert "/" in value


def test_an_es_module_has_no_require(lambda_client, make_node):
    """As anywhere: packages tell by it what they are in."""
    name = make_node({"app.mjs": "export const handler = async () => [typeof require, typeof fs]"})
    assert invoke(lambda_client, name)[0] == ["undefined", "undefined"]


def test_the_context_is_awss(lambda_client, make_node):
    name = make_node(
        "exports.handler = async (e, c) => ({...c, left: c.getRemainingTimeInMillis()})",
        Timeout=20,
        MemorySize=320,
    )
    custom = base64.b64encode(b'{"custom": {"k": "\xc3\xbc"}}').decode()
    value, _, log = invoke(lambda_client, name, {}, ClientContext=custom)
    assert 0 < value.pop("left") <= 20_000
    assert f"START RequestId: {value.pop('awsRequestId')} " in log
    assert value.pop("logStreamName").count("/") == 3
    assert value == {
        "callbackWaitsForEmptyEventLoop": True,
        "functionVersion": "$LATEST",
        "functionName": name,
        "memoryLimitInMB": "320",
        "logGroupName": f"/aws/lambda/{name}",
        "clientContext": {"custom": {"k": "ü"}},
        "invokedFunctionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}",
    }


def test_the_console_writes_log_lines_with_time_request_and_level(lambda_client, make_node):
    name = make_node("""
        exports.handler = async (event, context) => {
          console.log('plain %s', {a: 1});
          console.warn('careful');
          console.error(new Error('seen'));
          console.debug('deep');
          console.log('one\\ntwo');
          process.stdout.write('raw\\n');
          return context.awsRequestId;
        }
    """)
    request_id, _, log = invoke(lambda_client, name)
    for level, text in (
        ("INFO", "plain { a: 1 }"),
        ("WARN", "careful"),
        ("ERROR", "Error: seen"),
        ("DEBUG", "deep"),
    ):
        assert f"Z\t{request_id}\t{level}\t{text}" in log
    assert "one\ntwo\n" in log
    assert "\nraw\n" in log


FAILURES = {
    "thrown at once": "throw new RangeError('no')",
    "thrown later": "await null; throw new RangeError('no')",
    "rejected": "return Promise.reject(new RangeError('no'))",
    "context.fail": "context.fail(new RangeError('no')); await new Promise(() => {})",
    "callback": "callback(new RangeError('no')); await new Promise(() => {})",
}


@pytest.mark.parametrize("way", FAILURES)
def test_an_error_has_type_message_and_trace(lambda_client, make_node, way):
    source = f"exports.handler = async (event, context, callback) => {{ {FAILURES[way]} }}"
    name = make_node(source)
    for _ in range(2):
        value, error, log = invoke(lambda_client, name)
        assert (error, value["errorType"], value["errorMessage"]) == (
            "Unhandled", "RangeError", "no",
        )  # fmt: skip
        assert value["trace"][0] == "RangeError: no"
        assert "app.js:1:" in value["trace"][1]
        assert '\tERROR\tInvoke Error \t{"errorType":"RangeError","errorMessage":"no"' in log


def test_a_synchronous_throw_is_an_error(lambda_client, make_node):
    name = make_node("exports.handler = () => { throw new TypeError('at once') }")
    value, error, _ = invoke(lambda_client, name)
    assert (error, value["errorType"]) == ("Unhandled", "TypeError")


def test_what_is_thrown_may_be_anything(lambda_client, make_node):
    name = make_node("exports.handler = async () => { throw 'a string' }")
    assert invoke(lambda_client, name)[0] == {
        "errorType": "string", "errorMessage": "a string", "trace": [],
    }  # fmt: skip
    hostile = "{get name() { throw 1 }, get message() { throw 2 }}"
    name = make_node(f"exports.handler = async () => {{ throw {hostile} }}")
    assert invoke(lambda_client, name)[1] == "Unhandled"


@pytest.mark.parametrize(
    ("files", "handler", "error_type", "words"),
    [
        ({"x.js": ""}, "app.handler", "Runtime.ImportModuleError", "Cannot find module 'app'"),
        ({"app.js": "require('nothing')"}, "app.handler", "Runtime.ImportModuleError",
         "Cannot find module 'nothing'"),
        ({"app.js": "x ="}, "app.handler", "Runtime.UserCodeSyntaxError", "SyntaxError"),
        ({"app.js": ""}, "app.handler", "Runtime.HandlerNotFound",
         "app.handler is undefined or not exported"),
        ({"app.js": "exports.handler = 1"}, "app.handler", "Runtime.HandlerNotFound",
         "app.handler is not a function"),
        ({"app.js": ""}, "app", "Runtime.MalformedHandlerName", "Bad handler"),
        ({"app.js": "throw new RangeError('at load')"}, "app.handler", "RangeError", "at load"),
        ({"app.js": "process.exit(4)"}, "app.handler", "Runtime.ExitError", "exit status 4"),
    ],
)  # fmt: skip
def test_a_failed_init_is_the_answer(lambda_client, make_node, files, handler, error_type, words):
    value, error, _ = invoke(lambda_client, make_node(files, Handler=handler))
    assert (value["errorType"], error) == (error_type, "Unhandled")
    assert words in value["errorMessage"]


@pytest.mark.parametrize(
    ("statement", "error_type"),
    [
        ("process.exit(3)", "Runtime.ExitError"),
        ("process.kill(process.pid, 'SIGKILL')", "Runtime.ExitError"),
        ("process.abort()", "Runtime.ExitError"),
        ("setTimeout(() => { throw new RangeError('loose') }); await new Promise(() => {})",
         "RangeError"),
        ("Promise.reject(new RangeError('loose')); await new Promise(r => setTimeout(r, 1000))",
         "Runtime.UnhandledPromiseRejection"),
    ],
)  # fmt: skip
def test_a_crash_is_told_and_the_next_call_works(lambda_client, make_node, statement, error_type):
    source = (
        f"exports.handler = async (event) => {{ if (event === 'end') {{ {statement} }} return 1 }}"
    )
    name = make_node(source, Timeout=20)
    value, error, _ = invoke(lambda_client, name, "end")
    assert (value["errorType"], error) == (error_type, "Unhandled")
    assert invoke(lambda_client, name)[:2] == (1, None)


def test_a_handler_that_never_answers_is_told_as_aws_tells_it(lambda_client, make_node):
    name = make_node("exports.handler = () => {}")
    assert invoke(lambda_client, name)[:2] == (None, None)
    name = make_node("exports.handler = async () => { await new Promise(() => {}) }")
    assert invoke(lambda_client, name)[0]["errorType"] == "Runtime.NodeJsExit"


def test_a_callback_waits_for_the_event_loop_unless_told_not_to(lambda_client, make_node):
    name = make_node("""
        let count = 0;
        exports.handler = (event, context, callback) => {
          context.callbackWaitsForEmptyEventLoop = event;
          setTimeout(() => { count += 1 }, 50);
          callback(null, {get count() { return count }});
        }
    """)
    assert invoke(lambda_client, name, True)[0] == {"count": 1}
    assert invoke(lambda_client, name, False)[0]["count"] in (1, 2)


def test_threads_processes_and_compilation_work_inside(lambda_client, make_node):
    name = make_node(
        """
        const { Worker } = require('worker_threads');
        const { execFileSync } = require('child_process');
        const crypto = require('crypto'), fs = require('fs'), dns = require('dns');
        exports.handler = async () => ({
          thread: await new Promise((resolve, reject) => {
            const worker = new Worker('require("worker_threads").parentPort.postMessage(1)',
              {eval: true});
            worker.on('message', resolve); worker.on('error', reject);
          }),
          child: execFileSync(process.execPath, ['-p', '40 + 2']).toString().trim(),
          hash: await new Promise((resolve) =>
            crypto.pbkdf2('a', 'b', 10, 4, 'sha256', (_, key) => resolve(key.length))),
          file: (fs.writeFileSync('/tmp/x', 'y'), fs.readFileSync('/tmp/x', 'utf8')),
          wasm: WebAssembly.validate(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0)),
          fetch: typeof fetch,
        })
        """,
        MemorySize=512,
        Timeout=30,
    )
    value, error, _ = invoke(lambda_client, name)
    assert (value, error) == (
        {"thread": 1, "child": "42", "hash": 4, "file": "y", "wasm": True, "fetch": "function"},
        None,
    )


def test_a_large_event_and_answer_pass(lambda_client, make_node):
    name = make_node("exports.handler = async (event) => event", MemorySize=1024, Timeout=30)
    assert invoke(lambda_client, name, "x" * 6_000_000)[0] == "x" * 6_000_000
    name = make_node("exports.handler = async () => 'x'.repeat(7e6)", MemorySize=1024, Timeout=30)
    value, error, _ = invoke(lambda_client, name)
    assert (value["errorType"], error) == ("Function.ResponseSizeTooLarge", "Unhandled")
    assert json.loads(json.dumps(value)) == value
