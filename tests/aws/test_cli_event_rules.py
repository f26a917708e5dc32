"""`samovar deploy --retries … --on-failure …`, against a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_cli import ECHO, Run, app, command_of, name
from tests.server import Server

__all__ = ["name"]

QUEUE = "arn:aws:sqs:us-east-1:123456789012:dead-letters"
BUS = "arn:aws:events:us-east-1:123456789012:event-bus/default"


@pytest.fixture
def samovar(moto_server: Server) -> Run:
    return command_of(moto_server)


@pytest.fixture
def deploy(samovar: Run, name: str, tmp_path: Path):
    """Deploys the test's function with these flags; returns what the command says."""

    def run(*flags: str) -> str:
        done = samovar("deploy", app(tmp_path / "x", ECHO), "--name", name, *flags)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition(";")[0]

    return run


def rules(client: Any, name: str) -> tuple[Any, ...]:
    found = client.get_function_event_invoke_config(FunctionName=name)
    destinations = found["DestinationConfig"]
    return (
        found.get("MaximumRetryAttempts"),
        found.get("MaximumEventAgeInSeconds"),
        destinations.get("OnSuccess", {}).get("Destination"),
        destinations.get("OnFailure", {}).get("Destination"),
    )


def test_what_becomes_of_events_is_said_when_deploying(deploy, name, moto_lambda):
    assert deploy("--retries", "0", "--on-failure", QUEUE) == f"{name} created"
    assert rules(moto_lambda, name) == (0, None, None, QUEUE)


def test_only_what_is_said_is_changed(deploy, name, moto_lambda):
    deploy("--retries", "1", "--on-failure", QUEUE)
    assert deploy("--max-age", "60", "--on-success", BUS) == f"{name} updated (events)"
    assert rules(moto_lambda, name) == (1, 60, BUS, QUEUE)
    assert deploy("--retries", "1", "--on-success", BUS) == f"{name} is up to date"
    assert deploy() == f"{name} is up to date"


def test_a_function_is_no_destination_of_its_own(samovar, name, tmp_path):
    flags = ("--name", name, "--on-success", name)
    done = samovar("deploy", app(tmp_path / "x", ECHO), *flags)
    assert "You can't specify the function as a destination for itself" in done.stderr


def test_a_destination_is_taken_away_by_naming_none(deploy, name, moto_lambda):
    deploy("--on-success", QUEUE, "--on-failure", QUEUE)
    assert deploy("--on-failure", "none") == f"{name} updated (events)"
    assert rules(moto_lambda, name) == (None, None, QUEUE, None)


def test_a_dead_letter_queue_is_set_and_taken_away(deploy, name, moto_lambda):
    def target() -> str | None:
        found = moto_lambda.get_function_configuration(FunctionName=name)
        return found.get("DeadLetterConfig", {}).get("TargetArn")

    deploy("--dead-letter", QUEUE)
    assert target() == QUEUE
    assert deploy("--dead-letter", QUEUE) == f"{name} is up to date"
    assert deploy("--dead-letter", "none") == f"{name} updated (configuration)"
    assert target() is None
    assert deploy("--dead-letter", "none") == f"{name} is up to date"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--retries", "3"), "less than or equal to 2"),
        (("--on-failure", "nobody"), "Function not found"),
        (("--on-failure", "arn:aws:iam::1:role/x"), "Exception"),
    ],
)
def test_what_cannot_be_is_one_line(samovar, name, tmp_path, flags, says):
    done = samovar("deploy", app(tmp_path / "x", ECHO), "--name", name, *flags)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert says in done.stderr
