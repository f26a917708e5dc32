"""How instances end that have extensions, through boto3: as others do, for those who call them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.aws.functions import FunctionFactory
from tests.aws.layers import LayerFactory
from tests.aws.runtimes import custom, invoke
from tests.aws.test_extensions import layer
from tests.aws.web_servers import ECHO, LWA

SLOW_TO_GO = """
    id = register("INVOKE", "SHUTDOWN")
    while next_event(id)["eventType"] != "SHUTDOWN":
        pass
    signal.pause()
"""


@pytest.fixture
def make_extended(make_function: FunctionFactory, publish: LayerFactory) -> Any:
    """Makes functions with an extension that takes all the time it gets at the end."""

    def make(source: str, extension: str = SLOW_TO_GO, **config: Any) -> str:
        return make_function(source, Layers=[layer(publish, extension=extension)], **config)

    return make


def test_a_crash_is_no_timeout_though_the_extensions_take_longer(lambda_client, make_extended):
    name = make_extended(
        """
        import os
        def handler(event, context):
            print("going")
            os._exit(3) if event == "go" else None
        """,
        Timeout=1,
    )
    value, error, log = invoke(lambda_client, name, "go")
    request_id = re.findall("START RequestId: (.*) Version", log)[0]
    message = f"RequestId: {request_id} Error: Runtime exited with error: exit status 3"
    assert value == {"errorType": "Runtime.ExitError", "errorMessage": message}
    assert error == "Unhandled"
    assert f"going\n{message}\nRuntime.ExitError\nEND" in log
    assert "Status: error\tError Type: Runtime.ExitError" in log
    assert invoke(lambda_client, name, "stay")[1] is None


def test_memory_over_the_limit_is_told_as_such(lambda_client, make_extended, server):
    if "memory" not in server.health()["isolation"]["layers"]:
        pytest.skip("no memory limit on this machine")
    name = make_extended(
        """
        def handler(event, context):
            return len(bytearray(b"x") * (400 << 20))
        """,
        MemorySize=128,
        Timeout=20,
    )
    value, _, _ = invoke(lambda_client, name)
    assert value["errorType"] == "Runtime.OutOfMemory"
    assert value["errorMessage"].endswith("Runtime exited with error: signal: killed")


def test_a_web_server_that_dies_fails_one_call(lambda_client, make_extended):
    variables = {"Variables": LWA}
    name = make_extended("", Timeout=10, Environment=variables, **custom({"bootstrap": ECHO}))

    def get(path: str) -> Any:
        about = {"http": {"method": "GET", "path": path}}
        event = {"version": "2.0", "rawPath": path, "headers": {}, "requestContext": about}
        return invoke(lambda_client, name, event)[0]

    assert get("/tea")["statusCode"] == 200
    assert get("/die")["errorType"] == "Runtime.ExitError"
    assert get("/tea")["statusCode"] == 200


def test_an_extension_within_a_node_module_goes_on_while_no_event_comes(
    lambda_client, make_function, server
):
    names = [name for name in server.health()["runtimes"] if name.startswith("nodejs")]
    if not names:
        pytest.skip("this machine has no Node.js")
    source = """
        const api = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2020-01-01/extension`;
        const answer = await fetch(`${api}/register`, {
          method: 'POST',
          headers: { 'Lambda-Extension-Name': 'inner' },
          body: JSON.stringify({ events: ['INVOKE'] }),
        });
        await answer.text();
        const headers = {
          'Lambda-Extension-Identifier': answer.headers.get('lambda-extension-identifier'),
        };
        const told = [];
        (async () => {
          for (;;) {
            const event = await fetch(`${api}/event/next`, { headers });
            told.push((await event.json()).requestId);
          }
        })();
        export const handler = async (event, context) => {
          while (!told.includes(context.awsRequestId)) await new Promise(setImmediate);
          return told.length;
        };
    """
    name = make_function(
        {"app.mjs": source}, Runtime=names[-1], Handler="app.handler", MemorySize=256, Timeout=20
    )
    assert [invoke(lambda_client, name)[:2] for _ in range(2)] == [(1, None), (2, None)]
