"""`samovar deploy --concurrency … --provisioned …`, against a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.test_cli import ECHO, Run, app, name, samovar

__all__ = ["name", "samovar"]


@pytest.fixture
def deploy(samovar: Run, name: str, tmp_path: Path):
    """Deploys the test's function with these flags; returns what the command says."""

    def run(*flags: str, source: str = ECHO) -> str:
        done = samovar("deploy", app(tmp_path / "x", source), "--name", name, *flags)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition(";")[0].removeprefix(f"{name} ")

    return run


@pytest.fixture
def listed(samovar: Run, name: str):
    """What `samovar ls` says of the instances of the test's function."""

    def read() -> str:
        heading, *rows = samovar("ls").stdout.splitlines()
        [row] = [row for row in rows if row.startswith(f"{name} ")]
        return row[heading.index("INSTANCES") :]

    return read


def test_many_requests_in_one_instance(deploy, listed, name, lambda_client):
    deploy()
    assert listed() == "-"
    assert deploy("--concurrency", "10") == "updated (configuration)"
    assert listed() == "10 requests each"
    assert deploy("--concurrency", "10") == "is up to date"
    found = lambda_client.get_function_configuration(FunctionName=name)["CapacityProviderConfig"]
    [config] = found.values()
    ratio = {"ExecutionEnvironmentMemoryGiBPerVCpu": 4.0}
    lambda_client.update_function_configuration(
        FunctionName=name,
        CapacityProviderConfig={"LambdaManagedInstancesCapacityProviderConfig": config | ratio},
    )
    deploy("--concurrency", "5")
    found = lambda_client.get_function_configuration(FunctionName=name)["CapacityProviderConfig"]
    [changed] = found.values()
    assert changed == config | ratio | {"PerExecutionEnvironmentMaxConcurrency": 5}


def test_requests_that_are_kept_for_it(deploy, listed):
    assert deploy("--reserved", "7") == "created"
    assert listed() == "7 reserved"
    assert deploy("--reserved", "7") == "is up to date"
    assert deploy("--reserved", "none") == "updated (reserved concurrency)"
    assert deploy("--reserved", "none") == "is up to date"
    assert listed() == "-"


def test_instances_that_wait_for_requests(deploy, listed, name, lambda_client):
    assert deploy("--provisioned", "1") == "created"
    assert listed() == "1 provisioned"
    assert deploy("--provisioned", "1") == "is up to date"
    assert deploy("--provisioned", "1", source="handler = print") == "updated (code)"
    alias = lambda_client.get_alias(FunctionName=name, Name="live")
    assert alias["FunctionVersion"] == "2"
    for count in ("2", "0"):
        done = deploy("--provisioned", count, source="handler = print")
        assert done == "updated (provisioned concurrency)"
    assert listed() == "-"


def test_instances_that_begin_from_a_snapshot(deploy, listed, name, lambda_client):
    assert deploy("--snapstart") == "created"
    assert listed() == "snapstart"
    assert deploy("--snapstart") == "is up to date"
    live = lambda_client.get_function_configuration(FunctionName=name, Qualifier="live")
    assert (live["State"], live["SnapStart"]["OptimizationStatus"]) == ("Active", "On")
    assert deploy("--no-snapstart") == "updated (configuration)"
    assert listed() == "-"


def test_instances_that_cannot_start_are_told(samovar, name, tmp_path):
    broken = app(tmp_path / "x", "def handler(event, context): ...\nraise RuntimeError('no tea')\n")
    done = samovar("deploy", broken, "--name", name, "--provisioned", "1")
    assert done.returncode == 1
    assert f"{name}:live did not become ready: " in done.stderr


def test_what_idle_instances_are_kept_by(deploy, name, lambda_client):
    assert deploy("--keep-alive", "histogram") == "created"
    assert lambda_client.get_function(FunctionName=name)["Tags"] == {
        "samovar:keep-alive": "histogram"
    }
    assert deploy("--keep-alive", "histogram") == "is up to date"
    assert deploy("--keep-alive", "none") == "updated (keep-alive)"
    assert deploy("--keep-alive", "none") == "is up to date"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--reserved", "many"), "--reserved many is no number"),
        (("--reserved", "-1"), "--reserved -1 is no number"),
        (("--reserved", "99999"), "minimum value of [100]"),
        (("--concurrency", "0"), "'--concurrency'"),
        (("--concurrency", "257"), "more than this server supports"),
        (("--keep-alive", "for ever"), "must be one of"),
    ],
)
def test_nonsense_is_said_to_be_nonsense(samovar, name, tmp_path, flags, words):
    done = samovar("deploy", app(tmp_path / "x", ECHO), "--name", name, *flags)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
