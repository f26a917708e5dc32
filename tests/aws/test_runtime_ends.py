"""Programs that end, at each point: the right answer, and the next call works."""

from __future__ import annotations

import json

import pytest

from tests.aws.runtimes import custom, invoke, python_bootstrap

CRASHES = {
    "sys.exit(3)": "Runtime exited with error: exit status 3",
    "sys.exit(0)": "Runtime exited without providing a reason",
    "os.kill(os.getpid(), 9)": "Runtime exited with error: signal: killed",
    "os.abort()": "Runtime exited with error: signal: aborted",
    "os.kill(os.getpid(), 15)": "Runtime exited with error: signal: terminated",
}


@pytest.mark.parametrize("statement", CRASHES)
def test_an_end_before_the_first_next_is_a_failed_init(lambda_client, make_function, statement):
    name = make_function("", **python_bootstrap(statement))
    value, error, _ = invoke(lambda_client, name)
    assert (value["errorType"], error) == ("Runtime.ExitError", "Unhandled")
    assert CRASHES[statement] in value["errorMessage"]


@pytest.mark.parametrize("statement", CRASHES)
def test_an_end_within_an_invocation_is_told_and_the_next_call_works(
    lambda_client, make_function, statement
):
    name = make_function(
        "",
        **python_bootstrap(f"""
            while True:
                id, event, _ = next_event()
                if event == "end":
                    {statement}
                respond(id, os.getpid())
        """),
    )
    value, error, _ = invoke(lambda_client, name, "end")
    assert (value["errorType"], error) == ("Runtime.ExitError", "Unhandled")
    assert CRASHES[statement] in value["errorMessage"]
    assert invoke(lambda_client, name)[1] is None


@pytest.mark.parametrize("how", ["respond(id, 'told')", "fail(id, {'errorType': 'told'})"])
def test_an_end_after_the_answer_leaves_the_answer_and_the_next_call_works(
    lambda_client, make_function, how
):
    name = make_function(
        "",
        **python_bootstrap(f"""
            id, event, _ = next_event()
            {how}
            os._exit(5)
        """),
    )
    for _ in range(3):
        assert "told" in json.dumps(invoke(lambda_client, name)[0])


@pytest.mark.usefixtures("last_words_are_heard")
def test_a_program_that_answers_and_dies_at_once_has_answered(lambda_client, make_function):
    name = make_function(
        "",
        **python_bootstrap("""
            id, event, _ = next_event()
            body = json.dumps("x" * 1_000_000).encode()
            host, port = HOST.split(":")
            raw = socket.create_connection((host, int(port)))
            raw.sendall(
                f"POST {ROOT}/invocation/{id}/response HTTP/1.1\\r\\nHost: x\\r\\n"
                f"Content-Length: {len(body)}\\r\\n\\r\\n".encode() + body
            )
            os._exit(0)
        """),
    )
    assert invoke(lambda_client, name)[:2] == ("x" * 1_000_000, None)


def test_a_program_that_says_nothing_runs_into_its_timeout(lambda_client, make_function):
    name = make_function(
        "",
        **python_bootstrap("""
            id, event, _ = next_event()
            signal.pause()
        """),
        Timeout=1,
    )
    value, error, _ = invoke(lambda_client, name)
    assert (value["errorType"], error) == ("Sandbox.Timedout", "Unhandled")


def test_memory_over_the_limit_is_told_as_such(lambda_client, make_function, server):
    if "memory" not in server.health()["isolation"]["layers"]:
        pytest.skip("no memory limit on this machine")
    name = make_function(
        "",
        **python_bootstrap("""
            while True:
                id, event, _ = next_event()
                hoard = bytearray(event << 20)
                hoard[::4096] = b"x" * len(hoard[::4096])
                respond(id, len(hoard))
        """),
        MemorySize=128,
    )
    assert invoke(lambda_client, name, 80)[0] == 80 << 20
    value, error, _ = invoke(lambda_client, name, 400)
    assert (value["errorType"], error) == ("Runtime.OutOfMemory", "Unhandled")
    assert invoke(lambda_client, name, 80)[0] == 80 << 20


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"other": "x"}, "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        ({"bootstrap": "echo no shebang"}, "fork/exec /var/task/bootstrap: exec format error"),
        ({"bootstrap": "#!/no/such/shell\n"}, "fork/exec /var/task/bootstrap: no such file"),
    ],
)
def test_a_package_without_a_program_is_told_why(
    lambda_client, make_function, server, files, words
):
    if "mounts" not in server.health()["isolation"]["layers"]:
        pytest.skip("without mounts, the code is not at /var/task")
    value, error, _ = invoke(lambda_client, make_function("", **custom(files)))
    assert (value["errorType"], error) == ("Runtime.InvalidEntrypoint", "Unhandled")
    assert words in value["errorMessage"]
