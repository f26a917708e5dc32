"""Web servers whose instances share the machine's network: none is taken for another."""

from __future__ import annotations

import json
import socket

import pytest

from tests.aws.functions import FunctionFactory, clients_of
from tests.aws.runtimes import custom, invoke
from tests.aws.web_servers import ECHO, LWA, Caller, web_function
from tests.server import running


def test_servers_that_want_the_same_port_get_one_each(needs_wiring, tmp_path):
    with (
        running(tmp_path / "data", "--no-examples", "--isolation", "none") as server,
        clients_of(server.endpoint) as client_of,
    ):
        functions = FunctionFactory(client_of(), "shared", server.newest_runtime())
        names = [web_function(functions) for _ in range(2)]
        seen = [json.loads(Caller(server.endpoint, name)("/who")[2]) for name in names]
        contexts = [json.loads(dict(one["headers"])["x-amzn-lambda-context"]) for one in seen]
        arns = [context["invoked_function_arn"] for context in contexts]
        assert [arn.rpartition(":")[2] for arn in arns] == names


@pytest.mark.slow
def test_a_port_that_another_process_serves_is_never_asked(needs_wiring, tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as strangers,
        running(tmp_path / "data", "--no-examples", "--isolation", "none") as server,
        clients_of(server.endpoint) as client_of,
    ):
        port = str(strangers.getsockname()[1])
        functions = FunctionFactory(client_of(), "strangers", server.newest_runtime())
        deaf = ECHO.replace('int(os.environ["PORT"])', "0")
        name = functions(
            "",
            Timeout=1,
            Environment={"Variables": LWA | {"AWS_LWA_READINESS_CHECK_PORT": port}},
            **custom({"bootstrap": deaf}),
        )
        _, error, _ = invoke(client_of(), name)
        assert error == "Unhandled"
        strangers.setblocking(False)
        with pytest.raises(BlockingIOError):
            strangers.accept()
