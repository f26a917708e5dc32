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
