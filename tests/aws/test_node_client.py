"""AWS's own client of the Runtime API for Node.js, unmodified, from npm."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.aws.runtimes import custom, invoke, needed
from tests.aws.streams import invoke_streamed

PACKAGE = Path(sys.prefix, "clients", "node_modules", "aws-lambda-ric")


@pytest.fixture
def make_function_with_client(make_function):
    """Makes a custom runtime of the client and the source of `app.js`."""
    if not (PACKAGE / "dist" / "rapid-client.node").exists():
        pytest.skip("aws-lambda-ric is not built: make setup-clients")

    def make(source, **config):
        kept = [PACKAGE / "package.json", *PACKAGE.glob("bin/*"), *PACKAGE.glob("dist/*")]
        files = {f"ric/{path.relative_to(PACKAGE)}": path.read_bytes() for path in kept}
        files["bootstrap"] = f"#!/bin/sh\nexec {needed('node')} ric/bin/index.mjs $_HANDLER\n"
        return make_function("", **custom(files | {"app.js": source}), MemorySize=512, **config)

    return make


def test_awss_client_for_node_is_a_runtime(lambda_client, make_function_with_client):
    name = make_function_with_client("""
        exports.handler = async (event, context) => {
          if (event.fail) throw new TypeError("lost");
          console.log("in the log");
          return { event, id: context.awsRequestId, left: context.getRemainingTimeInMillis() };
        };
    """)
    value, error, log = invoke(lambda_client, name, {"a": "é"})
    assert (value["event"], error) == ({"a": "é"}, None), log
    assert 0 < value["left"] <= 3000
    assert "in the log" in log
    value, error, _ = invoke(lambda_client, name, {"fail": True})
    assert (error, value["errorType"], value["errorMessage"]) == ("Unhandled", "TypeError", "lost")
    assert invoke(lambda_client, name, {})[1] is None


def test_awss_client_for_node_streams(lambda_client, make_function_with_client):
    name = make_function_with_client("""
        exports.handler = awslambda.streamifyResponse(async (event, stream) => {
          for (const part of ["green", " ", "tea"]) stream.write(part);
          stream.end();
        });
    """)
    streamed = invoke_streamed(lambda_client, name)
    assert (streamed.body, streamed.error) == (b"green tea", None)
