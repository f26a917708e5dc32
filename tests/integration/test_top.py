"""What a running server tells of its capacity: `/_samovar/top`, the metrics, the command."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError
from prometheus_client.parser import text_string_to_metric_families

from samovar.frontend.metrics import METRICS
from tests.aws.functions import FunctionFactory, clients_of
from tests.server import SAMOVAR, Server, clean_environment, running

ECHO = "def handler(event, context):\n    return event\n"
HOLDS = """
    import time
    kept = bytearray(32 << 20)
    def handler(event, context):
        deadline = time.monotonic() + event["s"]
        print("running", flush=True)
        while time.monotonic() < deadline:
            time.sleep(0.01)
"""


def fetch(server: Server, page: str, **headers: str) -> bytes:
    request = urllib.request.Request(f"{server.endpoint}/_samovar/{page}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        body: bytes = answer.read()
    return body


def metrics(server: Server, **labels: str) -> dict[str, float]:
    """The samples that have these labels, by name; of several, their sum."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(fetch(server, "metrics").decode()):
        for sample in family.samples:
            if labels.items() <= sample.labels.items():
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def function_of(server: Server, name: str):
    return next(found for found in server.ask("top")["functions"] if found["name"] == name)


def test_an_instance_shows_with_what_it_declares_and_what_it_really_uses(
    server, lambda_client, make_function
):
    name = make_function(HOLDS, MemorySize=512)
    lambda_client.invoke(FunctionName=name, Payload=b'{"s": 0}')
    told = function_of(server, name)
    assert told["memory"]["declared_mib"] == 512
    assert (told["instances"]["idle"], told["running"], told["waiting"]) == (1, 0, 0)
    assert told["counts"]["cold_starts"] == {"first": 1}
    if "memory" in server.health()["isolation"]["layers"]:
        assert 32 <= told["memory"]["used_mib"] < 512


def test_the_worker_shows_promises_against_what_there_is(server, lambda_client, make_function):
    lambda_client.invoke(FunctionName=make_function(ECHO, MemorySize=256), Payload=b"{}")
    (worker,) = server.ask("top")["workers"]
    assert 256 <= worker["memory"]["promised_mib"] <= worker["memory"]["may_promise_mib"]
    assert worker["memory"]["usable_mib"] <= worker["memory"]["may_promise_mib"]
    assert worker["processors"]["count"] > 0
    assert worker["processors"]["busy_s"] > 0
    assert (worker["admits"], worker["draining"]) == (True, False)


def test_blanks_are_counted(server, lambda_client, make_function):
    lambda_client.invoke(FunctionName=make_function(ECHO), Payload=b"{}")
    deadline = time.monotonic() + 30
    while not server.ask("top")["workers"][0]["blanks"]:
        assert time.monotonic() < deadline, "none is made again"


def test_templates_are_counted(server, lambda_client, make_function):
    name = make_function(ECHO, SnapStart={"ApplyOn": "PublishedVersions"})
    lambda_client.publish_version(FunctionName=name)
    lambda_client.get_waiter("published_version_active").wait(
        FunctionName=name, Qualifier="1", WaiterConfig={"Delay": 0.05, "MaxAttempts": 600}
    )
    (worker,) = server.ask("top")["workers"]
    assert worker["templates"] >= 1


def test_counters_never_fall_and_count_what_happens(server, lambda_client, make_function):
    name = make_function(ECHO)
    lambda_client.invoke(FunctionName=name, Payload=b"{}")
    before = metrics(server, function=name)
    lambda_client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(ClientError):
        lambda_client.invoke(FunctionName=name, Payload=b"{}")
    after = metrics(server, function=name)
    assert all(after[name] >= before[name] for name in before if METRICS[name].counter)
    assert after["samovar_function_throttles_total"] == 1
    throttled = metrics(
        server, function=name, reason="ReservedFunctionConcurrentInvocationLimitExceeded"
    )
    assert throttled == {"samovar_function_throttles_total": 1}


def test_a_start_that_fails_is_counted(server, lambda_client, make_function):
    name = make_function("raise ValueError('no')")
    lambda_client.invoke(FunctionName=name, Payload=b"{}")
    assert metrics(server, function=name)["samovar_function_failed_starts_total"] >= 1


def test_what_tenants_are_called_is_told_to_nobody(server, lambda_client, make_function):
    tenant = "acme.worker-1"
    name = make_function(ECHO, TenancyConfig={"TenantIsolationMode": "PER_TENANT"})
    lambda_client.invoke(FunctionName=name, Payload=b"{}", TenantId=tenant)
    assert metrics(server, function=name)["samovar_function_instances"] == 1
    for page in ("metrics", "top"):
        assert tenant.encode() not in fetch(server, page)


@pytest.mark.parametrize("page", ["top", "metrics"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
    ],
    ids=["origin", "fetch", "rebound"],
)
def test_web_pages_cannot_read_it(server, page, headers):
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(server, page, **headers)
    with refused.value as answer:
        assert answer.code == 403


# ---------------------------------------------------------------- ratios


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that promises a tenth of a vCPU: room for one instance with 128 MB."""
    ratio = 0.1 / len(os.sched_getaffinity(0))
    with running(
        tmp_path_factory.mktemp("narrow") / "data",
        "--no-examples",
        "--drain-timeout=0",
        SAMOVAR_CPU_OVERSUBSCRIPTION=str(ratio),
        SAMOVAR_QUEUE_TIMEOUT_S="0.3",
        SAMOVAR_ZONE="rack-7",
    ) as server:
        yield server


def test_who_is_refused_for_processors_is_told_so(narrow):
    with clients_of(narrow.endpoint) as make:
        client = make()
        factory = FunctionFactory(client, "narrow", narrow.newest_runtime())
        busy, other = factory(HOLDS, Timeout=60), factory(ECHO)
        client.invoke(FunctionName=busy, Payload=b'{"s": 60}', InvocationType="Event")
        narrow.await_log(busy, "running")
        with pytest.raises(ClientError, match=r"1 worker: less than 0\.07 vCPUs free") as refused:
            client.invoke(FunctionName=other, Payload=b"{}")
        assert refused.value.response["Error"]["Code"] == "TooManyRequestsException"
        with pytest.raises(ClientError, match=r"1 worker: less than 1\.00 vCPUs in all"):
            client.invoke(FunctionName=factory(ECHO, MemorySize=1769), Payload=b"{}")
        (worker,) = narrow.ask("top")["workers"]
        assert worker["processors"]["may_promise_vcpus"] == 0.1
        assert (worker["zone"], worker["processors"]["promised_vcpus"]) == ("rack-7", 0.072)
        factory.close()


# ---------------------------------------------------------------- the command


def top(server: Server, *flags: str) -> str:
    return subprocess.run(
        [str(SAMOVAR), "top", *flags],
        env=clean_environment(SAMOVAR_ENDPOINT=server.endpoint),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout


@pytest.mark.parametrize("flags", [["--once"], []], ids=["once", "into a pipe"])
def test_the_command_prints_one_look(server, lambda_client, make_function, flags):
    name = make_function(ECHO)
    lambda_client.invoke(FunctionName=name, Payload=b"{}")
    lines = top(server, *flags).splitlines()
    assert "worker local: admits instances" in lines
    assert [line for line in lines if line.startswith(f"{name} ")]


def test_the_command_prints_json_for_programs(server):
    assert json.loads(top(server, "--json")).keys() == server.ask("top").keys()


def test_in_a_terminal_it_goes_on_until_it_is_interrupted(server):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(SAMOVAR), "top"],
        env=clean_environment(SAMOVAR_ENDPOINT=server.endpoint, TERM="xterm", COLUMNS="200"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        while seen.count(b"worker local") < 2:
            seen += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"promised" in seen
