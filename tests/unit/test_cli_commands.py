"""What a person reads when a command cannot do what was asked: one line, and a next step."""

import json
import subprocess
import sys

import pytest

from samovar.cli.deploy import parse_environment
from samovar.cli.endpoint import Endpoint
from samovar.cli.failure import CommandError
from samovar.cli.invoke import read_payload
from tests.server import SAMOVAR, clean_environment

NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SAMOVAR), *arguments],
        env=clean_environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("invoke", "hello"),
        ("logs", "hello"),
        ("ls",),
        ("rm", "hello", "--yes"),
        ("deploy", "examples/hello", "--runtime", "python3.11"),
    ],
)
def test_without_a_server_each_verb_says_how_to_start_one(arguments):
    done = run("--endpoint", NOBODY, *arguments)
    assert done.stderr == f"error: no server answers at {NOBODY}; start one with `samovar up`\n"
    assert (done.returncode, done.stdout) == (2, "")


def test_the_endpoint_may_come_from_the_environment():
    assert NOBODY in run("ls", SAMOVAR_ENDPOINT=NOBODY).stderr


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://x:port"])
def test_an_endpoint_that_is_none_is_refused(url):
    with pytest.raises(CommandError, match="is no endpoint"):
        Endpoint(url)


def test_a_broken_aws_profile_is_explained():
    done = run("--endpoint", NOBODY, "ls", AWS_PROFILE="gone")
    assert "unset AWS_PROFILE" in done.stderr
    assert done.returncode == 2


def test_rm_does_not_delete_unasked():
    done = run("rm", "hello")
    assert "say --yes" in done.stderr
    assert done.returncode == 2


def test_a_stream_is_not_waited_for_and_queued_at_once():
    done = run("invoke", "hello", "--stream", "--async")
    assert "exclude each other" in done.stderr
    assert done.returncode == 2


def test_up_names_a_setting_that_makes_no_sense():
    done = run("up", "--port", "99999")
    assert done.stderr.startswith("error: port must be between 0 and 65535")
    assert done.returncode == 2


def test_up_takes_its_settings_from_the_environment_too():
    assert "port must be between" in run("up", SAMOVAR_PORT="99999").stderr


def test_a_payload_may_be_given_from_a_file(tmp_path):
    path = tmp_path / "event.json"
    path.write_text('{"name": "file"}')
    assert json.loads(read_payload(f"@{path}")) == {"name": "file"}


@pytest.mark.parametrize("payload", ["{name: x}", "@/no/such/file", ""])
def test_a_payload_that_is_no_json_is_refused_before_it_is_sent(payload):
    with pytest.raises(CommandError) as caught:
        read_payload(payload)
    assert caught.value.exit_status == 2


def test_environment_assignments_may_have_an_equals_sign_in_the_value():
    assert parse_environment(["A=1", "B=x=y", "C="]) == {"A": "1", "B": "x=y", "C": ""}


@pytest.mark.parametrize("assignment", ["A", "=1"])
def test_an_assignment_without_a_name_or_an_equals_sign_is_refused(assignment):
    with pytest.raises(CommandError, match="is no assignment"):
        parse_environment([assignment])


def test_help_needs_no_aws_client_and_no_server():
    """Both would be felt at each call of the command."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(SAMOVAR), "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "botocore" not in done.stderr
    assert "samovar.frontend" not in done.stderr
