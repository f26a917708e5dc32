"""Connections to functions that are web servers: which are kept, and which are given up."""

from __future__ import annotations

from tests.aws.web_servers import ECHO, Caller, web_function


def test_what_must_not_be_sent_twice_goes_on_a_connection_of_its_own(make_function, endpoint):
    call = Caller(endpoint, web_function(make_function))
    for _ in range(100):
        assert call("/closes_soon", "POST", b"tea")[2] == b"3"


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
