"""Connections to functions that are web servers."""

from __future__ import annotations

from tests.aws.web_servers import ECHO, Caller, web_function


def test_no_request_is_lost_to_a_server_that_soon_closes_its_connections(make_function, endpoint):
    call = Caller(endpoint, web_function(make_function))
    for _ in range(50):
        for method in ("POST", "PUT"):
            assert call("/closes_soon", method, b"tea")[2] == b"3"


def test_a_server_that_serves_one_connection_at_a_time_gets_one_at_a_time(make_function, endpoint):
    single = ECHO.replace("http.server.ThreadingHTTPServer(\n", "http.server.HTTPServer(\n")
    call = Caller(endpoint, web_function(make_function, {"bootstrap": single}))
    for method in ("GET", "POST", "GET", "POST", "POST", "PUT"):
        assert call("/count", method, b"tea")[2] == b"3"


def test_a_question_that_the_server_never_answers_is_asked_again(make_function, endpoint):
    deaf = ECHO.replace(
        "import http.server, json, os, sys, time\n",
        """import http.server, json, os, socket, sys, time
with socket.create_server(("127.0.0.1", int(os.environ["PORT"]))) as deaf:
    first, _ = deaf.accept()
    first.recv(1000)
""",
    )
    assert Caller(endpoint, web_function(make_function, {"bootstrap": deaf}))("/")[0] == 200
