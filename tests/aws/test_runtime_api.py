"""The Runtime API towards programs that fail, call out of turn, or speak no HTTP."""

from __future__ import annotations

import pytest

from tests.aws.runtimes import invoke, python_bootstrap, when_free


def test_an_error_is_told_in_the_programs_words(lambda_client, make_function):
    name = make_function(
        "",
        **python_bootstrap("""
            while True:
                id, event, _ = next_event()
                document = {"errorType": "Tea.Cold", "errorMessage": "brr", "own": [1]}
                fail(id, document, {"Lambda-Runtime-Function-Error-Type": "Tea.Cold"})
        """),
    )
    for _ in range(2):
        assert invoke(lambda_client, name)[:2] == (
            {"errorType": "Tea.Cold", "errorMessage": "brr", "own": [1]},
            "Unhandled",
        )


def test_a_failed_init_is_told_in_the_programs_words(lambda_client, make_function):
    name = make_function(
        "",
        **python_bootstrap("""
            status, _, body = call("POST", "/init/error", '{"errorType": "No.Water"}')
            assert (status, json.loads(body)) == (202, {"status": "OK"})
            assert call("GET", "/invocation/next")[0] == 403
            sys.exit(1)
        """),
    )
    assert invoke(lambda_client, name)[:2] == ({"errorType": "No.Water"}, "Unhandled")


def test_calls_out_of_turn_are_refused_as_aws_refuses_them(lambda_client, make_function):
    name = make_function(
        "",
        **python_bootstrap("""
            def outcome(answer):
                status, _, body = answer
                return [status, json.loads(body)["errorType"] if body[:1] == b"{" else None]
            seen = {"before next": outcome(respond("x", 1))}
            id, event, _ = next_event()
            seen["unknown id"] = outcome(respond("x", 1))
            seen["next twice"] = outcome(call("GET", "/invocation/next"))
            seen["late init error"] = outcome(call("POST", "/init/error", "{}"))
            seen["unknown path"] = outcome(call("GET", "/nothing"))
            seen["wrong method"] = outcome(call("DELETE", "/invocation/next"))
            seen["error of unknown"] = outcome(fail("x", {}))
            respond(id, None)
            first = id
            seen["twice"] = outcome(respond(id, 2))
            seen["error after response"] = outcome(fail(id, {}))
            while True:
                id, event, _ = next_event()
                seen["older id"] = outcome(respond(first, 3))
                respond(id, seen)
        """),
    )
    assert invoke(lambda_client, name)[0] is None
    seen = invoke(lambda_client, name)[0]
    unknown, early = [400, "InvalidRequestID"], [403, "InvalidStateTransition"]
    assert seen == {
        "before next": unknown,
        "unknown id": unknown,
        "next twice": early,
        "late init error": early,
        "unknown path": [404, None],
        "wrong method": [405, None],
        "error of unknown": unknown,
        "twice": early,
        "error after response": early,
        "older id": unknown,
    }


def test_a_response_over_the_limit_is_refused_and_the_program_lives_on(
    lambda_client, make_function
):
    name = make_function(
        "",
        **python_bootstrap("""
            told = None
            while True:
                id, event, _ = next_event()
                if event == "chunks":
                    chunks = (b"x" * 65536 for _ in range(120))
                    told = call("POST", f"/invocation/{id}/response", chunks)[::2]
                elif event == "whole":
                    told = respond(id, "x" * 7_000_000)[::2]
                else:
                    respond(id, [told[0], json.loads(told[1]), os.getpid()])
        """),
        MemorySize=512,
        Timeout=30,
    )
    lambda_client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    for how in ("whole", "chunks"):
        value, error, _ = when_free(lambda how=how: invoke(lambda_client, name, how))
        assert (value["errorType"], error) == ("Function.ResponseSizeTooLarge", "Unhandled")
        status, document, _ = when_free(lambda: invoke(lambda_client, name))[0]
        assert (status, document["errorType"]) == (413, "RequestEntityTooLarge")
        assert "6291556 bytes" in document["errorMessage"]


def test_a_client_that_closes_after_each_answer_is_served(lambda_client, make_function):
    name = make_function(
        "",
        **python_bootstrap("""
            once = {"Connection": "close"}
            while True:
                status, headers, body = call("GET", "/invocation/next", None, once)
                id = headers["Lambda-Runtime-Aws-Request-Id"]
                call("POST", f"/invocation/{id}/response", body, once)
        """),
    )
    for number in range(3):
        assert invoke(lambda_client, name, number)[:2] == (number, None)


@pytest.mark.parametrize(
    "said",
    [
        b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
    ],
)
def test_what_is_no_http_is_refused_and_harms_nothing(lambda_client, make_function, said):
    name = make_function(
        "",
        **python_bootstrap(f"""
            while True:
                id, event, _ = next_event()
                host, port = HOST.split(":")
                with socket.create_connection((host, int(port))) as raw:
                    raw.sendall({said!r})
                    respond(id, raw.recv(100).decode())
        """),
    )
    assert invoke(lambda_client, name)[0].startswith("HTTP/1.1 400 ")


def test_headers_without_end_are_refused(lambda_client, make_function):
    name = make_function(
        "",
        **python_bootstrap("""
            while True:
                id, event, _ = next_event()
                host, port = HOST.split(":")
                with socket.create_connection((host, int(port))) as raw:
                    sent = 0
                    try:
                        raw.sendall(b"GET / HTTP/1.1\\r\\n")
                        while sent < 100_000_000:
                            sent += raw.send(b"X: " + b"y" * 60_000 + b"\\r\\n")
                    except OSError:
                        pass
                respond(id, sent < 50_000_000)
        """),
    )
    assert invoke(lambda_client, name)[0] is True


def test_many_connections_are_served_and_more_have_to_wait(lambda_client, make_function):
    name = make_function(
        "",
        **python_bootstrap("""
            while True:
                id, event, _ = next_event()
                host, port = HOST.split(":")
                idle = [socket.create_connection((host, int(port))) for _ in range(200)]
                for one in idle:
                    one.close()
                respond(id, len(idle))
        """),
    )
    for _ in range(2):
        assert invoke(lambda_client, name)[0] == 200


def test_an_event_goes_to_a_client_that_is_still_there(lambda_client, make_function, server):
    name = make_function(
        "",
        **python_bootstrap("""
            respond(next_event()[0], "first")
            gone, other = http.client.HTTPConnection(HOST), http.client.HTTPConnection(HOST)
            gone.request("GET", ROOT + "/invocation/next")
            other.request("GET", ROOT + "/invocation/next")
            gone.close()
            print("one has gone", flush=True)
            answer = other.getresponse()
            answer.read()
            respond(answer.headers["Lambda-Runtime-Aws-Request-Id"], "the other")
            next_event()
        """),
    )
    assert invoke(lambda_client, name)[0] == "first"
    server.await_log(name, "one has gone")
    assert invoke(lambda_client, name)[0] == "the other"


# ---------------------------------------------------------------- isolation


def test_a_program_is_as_isolated_as_a_python_function(lambda_client, make_function, server):
    name = make_function(
        "",
        **python_bootstrap("""
            def status(pid):
                lines = open(f"/proc/{pid}/status").read().splitlines()
                fields = dict(line.split(":\\t", 1) for line in lines)
                return {k: fields[k] for k in ("Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
            id, event, _ = next_event()
            descriptors = sorted(int(name) for name in os.listdir("/proc/self/fd"))
            respond(id, [status("self"), os.listdir("/"), descriptors[:-1],
                         sorted(name for name in os.listdir("/proc") if name.isdigit())])
            next_event()
        """),
    )
    if set(server.health()["isolation"]["missing"]) - {"egress"}:
        pytest.skip("this machine lacks layers")
    status, root, descriptors, processes = invoke(lambda_client, name)[0]
    python = make_function("""
        import os
        def handler(event, context):
            lines = open("/proc/self/status").read().splitlines()
            fields = dict(line.split(":\\t", 1) for line in lines)
            return [{k: fields[k] for k in event}, os.listdir("/")]
    """)
    told, python_root = invoke(lambda_client, python, [key for key in status if key != "Uid"])[0]
    assert status.pop("Uid").split()[0] != "0"
    assert status == told
    assert set(root) <= set(python_root)  # it may have an interpreter's installation besides
    assert descriptors == [0, 1, 2]
    assert len(processes) <= 3  # its own, the bridge, and the namespace's first
