"""Node.js functions that stream: `awslambda.streamifyResponse`, and what may happen meanwhile."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from tests.aws.runtimes import invoke
from tests.aws.streams import invoke_streamed


@pytest.fixture(scope="module")
def node(server) -> str:
    names = [name for name in server.health()["runtimes"] if name.startswith("nodejs")]
    if not names:
        pytest.skip("this machine has no Node.js")
    return names[-1]


@pytest.fixture
def make_node(make_function, node):
    def make(source, **config):
        config = {"MemorySize": 256, "Timeout": 20} | config
        return make_function({"app.js": source}, Runtime=node, **config)

    return make


@pytest.fixture
def make_streaming(make_node):
    """Creates a streaming function of its body: `event`, `stream` and `context` are there."""

    def make(body, before="", **config):
        return make_node(
            f"{before}\nexports.handler = awslambda.streamifyResponse("
            f"async (event, stream, context) => {{ {body} }})",
            **config,
        )

    return make


def test_what_is_written_comes_in_pieces_and_in_order(lambda_client, make_streaming):
    name = make_streaming("""
        for (let i = 0; i < event; i++) {
          stream.write(`${i} `);
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        stream.end('end');
    """)
    for _ in range(2):
        streamed = invoke_streamed(lambda_client, name, 4)
        assert (streamed.body, streamed.error) == (b"0 1 2 3 end", None)
        assert len(streamed.chunks) > 1


def test_a_large_stream_through_a_pipeline_arrives_whole(lambda_client, make_streaming):
    name = make_streaming(
        """
        const piece = Buffer.alloc(100_000, 'x');
        const pieces = Array.from({ length: event }, () => piece);
        await pipeline(Readable.from(pieces), stream);
        """,
        before="const { pipeline } = require('node:stream/promises');"
        "const { Readable } = require('node:stream')",
    )
    for count in (1, 300):
        assert len(invoke_streamed(lambda_client, name, count).body) == count * 100_000


def test_values_that_are_not_bytes_are_written_as_json(lambda_client, make_streaming):
    name = make_streaming(
        "stream.write({ tea: 1 }); stream.write(new Uint8Array([65])); stream.end()"
    )
    assert invoke_streamed(lambda_client, name).body == b'{"tea":1}A'


@pytest.mark.parametrize(
    ("body", "sent", "error", "message"),
    [
        ("throw new TypeError('lost')", b"", "TypeError", "lost"),
        ("stream.write('half'); throw new TypeError('lost')", b"half", "TypeError", "lost"),
        ("stream.write('half')", b"half", "string", "Response stream is not finished."),
        ("stream.write('half'); await new Promise(() => {})", b"half", "string",
         "Response stream is not finished."),
        ("stream.write('half'); setImmediate(() => { throw new RangeError('late') });"
         "await new Promise((go) => setTimeout(go, 5000))", b"half", "RangeError", "late"),
    ],
)  # fmt: skip
def test_an_error_is_told_at_the_end_of_what_was_sent(
    lambda_client, make_streaming, body, sent, error, message
):
    name = make_streaming(f"if (event) {{ {body}; return }} stream.end('fine')")
    streamed = invoke_streamed(lambda_client, name, True)
    assert (streamed.body, streamed.details["errorType"]) == (sent, error)
    assert streamed.details["errorMessage"] == message
    assert invoke_streamed(lambda_client, name).body == b"fine"


def test_a_handler_that_is_not_async_is_told_so(lambda_client, make_node):
    name = make_node("exports.handler = awslambda.streamifyResponse((event, stream) => {})")
    streamed = invoke_streamed(lambda_client, name)
    assert streamed.details["errorMessage"] == "Streaming does not support non-async handlers."


def test_an_error_after_the_end_changes_nothing(lambda_client, make_streaming):
    name = make_streaming("stream.end('done'); throw new Error('late')")
    for _ in range(2):
        assert invoke_streamed(lambda_client, name)[:2] == ([b"done"], None)


def test_buffered_invocation_has_the_whole_stream(lambda_client, make_streaming):
    name = make_streaming("stream.write('{\"a\":'); stream.end('1}')")
    assert invoke(lambda_client, name)[:2] == ({"a": 1}, None)


def test_status_and_headers_of_a_url_go_before_the_body(lambda_client, make_streaming, server):
    name = make_streaming("""
        const meta = { statusCode: 418, headers: { 'X-Tea': 'green' }, cookies: ['a=b'] };
        stream = awslambda.HttpResponseStream.from(stream, meta);
        stream.write('short ');
        stream.end('stout');
    """)
    meta, _, body = invoke_streamed(lambda_client, name).body.partition(b"\0" * 8)
    assert (json.loads(meta)["statusCode"], body) == (418, b"short stout")
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(f"{server.endpoint}/_samovar/url/{name}", timeout=20)
    with answer.value as told:
        assert (told.code, told.headers["X-Tea"], told.read()) == (418, "green", b"short stout")


def test_the_content_type_cannot_change_once_something_was_written(lambda_client, make_streaming):
    name = make_streaming("""
        stream.setContentType('text/tea');
        stream.write('x');
        try { stream.setContentType('text/plain') } catch (error) { stream.end(error.name) }
    """)
    assert invoke_streamed(lambda_client, name).body == b"xRuntime.InvalidStreamingOperation"


def test_work_after_the_end_is_done_before_the_next_event(lambda_client, make_streaming):
    name = make_streaming(
        """
        stream.end(`${done === begun}`);
        begun += 1;
        setTimeout(() => { done += 1 }, 20);
        """,
        before="let begun = 0, done = 0;",
    )
    assert {invoke_streamed(lambda_client, name).body for _ in range(5)} == {b"true"}


# ---------------------------------------------------------------- between invocations


def test_a_function_that_handles_signals_is_served_all_the_same(lambda_client, make_node):
    name = make_node("""
        process.on('SIGTERM', () => process.exit(0));
        exports.handler = async (event) => event;
    """)
    for number in range(3):
        assert invoke(lambda_client, name, number)[:2] == (number, None)


def test_programs_that_a_function_starts_do_not_inherit_its_connection(lambda_client, make_node):
    name = make_node("""
        const { execFileSync } = require('node:child_process');
        const ls = () => execFileSync('/bin/ls', ['/proc/self/fd']).toString().trim().split('\\n');
        exports.handler = async () => ls();
    """)
    assert invoke(lambda_client, name)[0] == ["0", "1", "2", "3"]  # the last is its look at them


def test_an_event_as_large_as_can_be_passes_both_ways(lambda_client, make_node):
    name = make_node("exports.handler = async (event) => event", MemorySize=512)
    event = "x" * 6_000_000
    assert invoke(lambda_client, name, event)[0] == event


FAKE_24 = "Object.defineProperty(process.versions, 'node', { value: '24.1.0' })"


def test_from_node_24_on_a_handler_may_not_take_a_callback(lambda_client, make_function, node):
    name = make_function(
        {"fake.js": FAKE_24, "app.js": "exports.handler = async (event, context, callback) => 1"},
        Runtime=node,
        MemorySize=256,
        Environment={"Variables": {"NODE_OPTIONS": "--require /var/task/fake.js"}},
    )
    value, error, _ = invoke(lambda_client, name)
    assert (value["errorType"], error) == ("Runtime.CallbackHandlerDeprecated", "Unhandled")
