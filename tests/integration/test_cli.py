"""The command line against a real server."""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.aws.functions import package
from tests.server import SAMOVAR, Server, clean_environment

Run = Callable[..., subprocess.CompletedProcess[str]]

ECHO = "def handler(event, context):\n    return event\n"


@pytest.fixture
def samovar(server: Server) -> Run:
    """Runs `samovar …` against the server."""
    return command_of(server)


def command_of(server: Server) -> Run:
    """Runs `samovar …` against a server."""

    def run(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SAMOVAR), *arguments],
            env=clean_environment(SAMOVAR_ENDPOINT=server.endpoint, **env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return run


@pytest.fixture
def name(samovar: Run, request: pytest.FixtureRequest):
    """A function name of the test's own; the function is deleted after it."""
    own = "cli-" + request.node.name.replace("_", "-").partition("[")[0][-50:]
    yield own
    samovar("rm", own, "--yes")


@pytest.fixture
def deploy(samovar: Run, name: str) -> Run:
    """`samovar deploy PATH --name <the test's> …`, which must succeed."""

    def run(path: str | Path, *flags: str) -> subprocess.CompletedProcess[str]:
        done = samovar("deploy", str(path), "--name", name, *flags)
        assert done.returncode == 0, done.stderr
        return done

    return run


def app(folder: Path, source: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(source)
    return str(folder)


def test_a_folder_is_deployed_and_answers(deploy, samovar, name, tmp_path):
    done = deploy(app(tmp_path / "x", ECHO))
    assert done.stdout == f"{name} created; call it with: samovar invoke {name}\n"
    assert samovar("invoke", name, "--payload", '{"a": 1}').stdout == '{"a": 1}\n'


@pytest.mark.parametrize("kind", ["py", "zip"])
def test_a_file_and_a_zip_are_deployed_too(deploy, samovar, name, tmp_path, kind):
    path = tmp_path / f"single.{kind}"
    path.write_bytes(ECHO.encode() if kind == "py" else package({"single.py": ECHO}))
    deploy(str(path))
    assert samovar("invoke", name, "--payload", '"x"').stdout == '"x"\n'


def test_what_the_flags_say_is_what_the_function_gets(deploy, name, tmp_path, lambda_client):
    flags = ["--memory", "256", "--timeout", "7", "--env", "ONE=1", "--env", "TWO=2=3"]
    deploy(app(tmp_path / "x", ECHO), *flags)
    got = lambda_client.get_function_configuration(FunctionName=name)
    assert (got["MemorySize"], got["Timeout"]) == (256, 7)
    assert got["Environment"]["Variables"] == {"ONE": "1", "TWO": "2=3"}


def test_deploying_the_same_again_changes_nothing(deploy, name, tmp_path, lambda_client):
    deploy(app(tmp_path / "x", ECHO))
    before = lambda_client.get_function_configuration(FunctionName=name)["RevisionId"]
    done = deploy(app(tmp_path / "copy", ECHO))
    assert "is up to date" in done.stdout
    assert lambda_client.get_function_configuration(FunctionName=name)["RevisionId"] == before


def test_deploying_new_code_serves_it_at_once(deploy, samovar, name, tmp_path):
    for number in ("1", "2", "3"):
        deploy(app(tmp_path / "x", f"handler = lambda e, c: {number}"))
        assert samovar("invoke", name).stdout == f"{number}\n"


def test_a_flag_that_is_not_given_leaves_the_setting_as_it_is(
    deploy, name, tmp_path, lambda_client
):
    folder = app(tmp_path / "x", ECHO)
    deploy(folder, "--env", "KEPT=yes", "--timeout", "9")
    done = deploy(folder, "--memory", "192")
    assert "updated (configuration)" in done.stdout
    got = lambda_client.get_function_configuration(FunctionName=name)
    assert (got["Timeout"], got["Environment"]["Variables"]) == (9, {"KEPT": "yes"})


def test_a_handler_that_moved_is_found_again(deploy, samovar, name, tmp_path):
    deploy(app(tmp_path / "x", ECHO))
    (tmp_path / "x" / "app.py").rename(tmp_path / "x" / "main.py")
    deploy(str(tmp_path / "x"))
    assert samovar("invoke", name, "--payload", "5").stdout == "5\n"


def test_deploy_says_what_the_server_refuses_in_one_line(samovar, name, tmp_path):
    done = samovar("deploy", app(tmp_path / "x", ECHO), "--name", name, "--timeout", "5000")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_name_that_aws_refuses_is_refused(samovar, tmp_path):
    done = samovar("deploy", app(tmp_path / "x", ECHO), "--name", "no spaces, please")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_the_answer_goes_to_stdout_and_the_log_to_stderr(deploy, samovar, name, tmp_path):
    source = "def handler(event, context):\n    print('from inside')\n    return 'answer'\n"
    deploy(app(tmp_path / "x", source))
    done = samovar("invoke", name, "--log")
    assert done.stdout == '"answer"\n'
    assert "from inside\n" in done.stderr
    assert "REPORT RequestId" in done.stderr


def test_invoke_says_whether_it_was_warm_and_where_the_time_went(deploy, samovar, name, tmp_path):
    deploy(app(tmp_path / "x", ECHO))
    assert samovar("invoke", name, "-v").stderr.startswith("cold")
    warm = samovar("invoke", name, "-v").stderr
    assert warm.startswith("warm")
    assert "run;dur=" in warm


def test_a_functions_error_goes_to_stderr_with_its_trace(deploy, samovar, name, tmp_path):
    source = "def handler(event, context):\n    raise KeyError('nothing there')\n"
    deploy(app(tmp_path / "x", source))
    done = samovar("invoke", name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {name} failed (Unhandled): KeyError: 'nothing there'\n")
    assert 'app.py", line 2, in handler' in done.stderr


def test_a_payload_may_come_from_stdin(deploy, samovar, name, tmp_path):
    deploy(app(tmp_path / "x", ECHO))
    assert samovar("invoke", name, "--payload", "-", stdin='{"b": 2}').stdout == '{"b": 2}\n'


def test_a_qualifier_calls_that_version(deploy, samovar, name, tmp_path, lambda_client):
    deploy(app(tmp_path / "x", "handler = lambda e, c: 'old'"))
    version = lambda_client.publish_version(FunctionName=name)["Version"]
    deploy(app(tmp_path / "x", "handler = lambda e, c: 'new'"))
    assert samovar("invoke", name, "--qualifier", version).stdout == '"old"\n'
    assert samovar("invoke", name).stdout == '"new"\n'


def test_functions_are_listed_and_deleted(deploy, samovar, name, tmp_path):
    deploy(app(tmp_path / "x", ECHO))
    assert name in samovar("ls").stdout
    assert samovar("rm", name, "--yes").stdout == f"{name} deleted\n"
    assert name not in samovar("ls").stdout


@pytest.mark.parametrize("verb", [("invoke",), ("logs",), ("rm", "--yes")])
def test_a_function_that_is_not_there_is_named(samovar, verb):
    done = samovar(*verb, "nobody")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Function not found: ")
    assert "function:nobody" in done.stderr


def test_logs_are_cut_to_the_lines_asked_for(deploy, samovar, name, tmp_path):
    source = "def handler(event, context):\n    print('one')\n    print('two')\n"
    deploy(app(tmp_path / "x", source))
    samovar("invoke", name)
    assert "one\ntwo\n" in samovar("logs", name).stdout
    last = samovar("logs", name, "-n", "1").stdout
    assert last.startswith("REPORT RequestId")
    assert last.count("\n") == 1


def test_logs_follow_what_is_printed_from_now_on(deploy, samovar, server, name, tmp_path):
    source = "def handler(event, context):\n    print('said', event)\n"
    deploy(app(tmp_path / "x", source))
    samovar("invoke", name, "--payload", "1")
    following = subprocess.Popen(
        [str(SAMOVAR), "logs", name, "-f"],
        env=clean_environment(SAMOVAR_ENDPOINT=server.endpoint),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        lines = iter(following.stdout.readline, "")
        assert any("said 1" in line for line in lines)
        samovar("invoke", name, "--payload", "2")
        assert any("said 2" in line for line in lines)
    finally:
        following.send_signal(signal.SIGINT)
        status = following.wait(30)
        following.stdout.close()
    assert status == 130


def test_regions_do_not_see_each_other(deploy, samovar, name, tmp_path):
    deploy(app(tmp_path / "x", ECHO))
    elsewhere = samovar("--region", "eu-west-1", "invoke", name)
    assert "eu-west-1" in elsewhere.stderr
    assert samovar("--region", "eu-west-1", "logs", name).returncode == 1


def test_nothing_is_asked_of_the_network_for_credentials(samovar):
    """A laptop without AWS configuration must not wait for a metadata service."""
    env = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "")
    env |= {"AWS_EC2_METADATA_DISABLED": "false", "AWS_DEFAULT_REGION": ""}
    assert samovar("ls", HOME=os.devnull, **env).returncode == 0


def test_the_examples_work_as_their_texts_say(deploy, samovar, name):
    deploy("examples/thumbnail")
    done = samovar("invoke", name, "--payload", '{"width": 32}')
    answer: dict[str, Any] = json.loads(done.stdout)
    assert (answer["width"], answer["height"]) == (32, 32)


def test_invoke_stream_prints_what_comes_and_fails_as_the_function_does(
    samovar: Run, deploy: Run, name: str, tmp_path: Path
):
    deploy(app(tmp_path / "app", "def handler(event, context):\n    return event['tea']\n"))
    done = samovar("invoke", name, "--stream", "--log", "-p", '{"tea": "green"}')
    assert (done.returncode, done.stdout) == (0, '"green"')
    assert done.stderr.startswith("START RequestId: ")
    done = samovar("invoke", name, "--stream")
    assert (done.returncode, done.stdout) == (1, "")
    assert "failed (Unhandled): KeyError: 'tea'" in done.stderr
