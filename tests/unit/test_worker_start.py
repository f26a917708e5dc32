"""A worker starts instances: admission, code, the init phase, and every way that it can fail."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from samovar.guest import wire
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import CodeRef
from samovar.model.instance import InstanceId
from samovar.ports import InitFailedError
from samovar.sandbox.fake import NOTHING, Behaviour, Reaction, end, init_error, ready
from samovar.worker.capacity import Capacity
from tests.contract.samples import a_version
from tests.unit.fake_machine import ID, MEMORY_MIB, machine
from tests.unit.scripted_worker import until


async def failed_start(built, **changes):
    """Start an instance that fails to; the error's document and its log."""
    with pytest.raises(InitFailedError) as failed:
        await built.idle(**changes)
    assert built.leftovers() == {}
    assert built.exits == []
    return json.loads(failed.value.payload), failed.value.log_tail.decode()


async def test_a_started_instance_takes_its_memory_and_says_how_it_began(tmp_path):
    behaviour = Behaviour(on_init=ready(0.0), origin="blank")
    async with machine(tmp_path, behaviour) as built:
        version = a_version(code=built.version.code, memory_mib=256)
        started = await built.worker.start(ID, version)
        assert (started.origin, started.init_ms) == ("blank", 0.0)
        assert started.start_ms > 0
        assert built.worker.status().free_memory_mib == MEMORY_MIB - 256


async def test_an_instance_gets_its_code_and_shares_of_the_machine(tmp_path):
    async with machine(tmp_path) as built:
        instance = await built.idle(memory_mib=512, ephemeral_storage_mib=600)
        spec = instance.spec
        assert (spec.code_dir / "app.py").read_text().startswith("def handler")
        assert (spec.runtime, spec.memory_mib, spec.ephemeral_storage_mib) == (
            "python3.11",
            512,
            600,
        )
        assert spec.vcpus == pytest.approx(512 / 1769)


async def test_an_instance_is_told_its_handler_and_the_environment_of_a_function(tmp_path):
    async with machine(tmp_path) as built:
        instance = await built.idle(handler="app.go", environment={"COLOUR": "red", "PATH": "/x"})
        (meta,) = instance.inits
        env = meta["env"]
        assert (meta["handler"], meta["runtime"]) == ("app.go", "python3.11")
        assert meta["task_root"] == env["LAMBDA_TASK_ROOT"] == instance.task_root
        assert (env["COLOUR"], env["PATH"]) == ("red", "/x")
        assert env["AWS_LAMBDA_FUNCTION_NAME"] == "f"
        assert env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "128"
        assert env["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.11"
        assert env["AWS_LAMBDA_LOG_GROUP_NAME"] == "/aws/lambda/f"
        assert env["TZ"] == ":UTC"


async def test_each_instance_has_a_log_stream_of_its_own(tmp_path):
    async with machine(tmp_path) as built:
        streams = {
            (await built.idle(name)).inits[0]["env"]["AWS_LAMBDA_LOG_STREAM_NAME"]
            for name in ("i-1", "i-2")
        }
        assert len(streams) == 2
        assert all("/[$LATEST]0" in stream for stream in streams)


async def test_the_cpu_quota_comes_when_init_is_over(tmp_path):
    async with machine(tmp_path) as built:
        await built.idle()
        await until(lambda: built.sandbox.settles == [ID])


async def test_the_quota_of_an_instance_that_is_gone_is_left_alone(tmp_path):
    async with machine(tmp_path) as built:
        await built.idle("i-1")
        await built.worker.stop("i-1")
        await built.idle("i-2")
        await until(lambda: built.sandbox.settles)
        assert built.sandbox.settles == ["i-2"]


@pytest.mark.parametrize("told", [-1, -1e300, float("nan"), float("inf"), 10**400, "1", None, []])
async def test_an_impossible_length_of_init_is_not_believed(tmp_path, told):
    frame = wire.encode(wire.READY, {"init_ms": told})
    async with machine(tmp_path, Behaviour(on_init=Reaction(send=frame))) as built:
        started = await built.worker.start(ID, built.version)
        assert 0 <= started.init_ms < 10_000
        assert b"Init Duration: " in (await built.invoke()).log_tail


# ---------------------------------------------------------------- refused and failed


async def test_a_worker_has_the_last_word_on_its_memory(tmp_path):
    async with machine(tmp_path) as built:
        await built.idle("i-1", memory_mib=MEMORY_MIB)
        with pytest.raises(PlatformError) as refused:
            await built.idle("i-2")
        assert refused.value.code is ErrorCode.TOO_MANY_REQUESTS
        await built.worker.stop("i-1")
        await built.idle("i-2", memory_mib=MEMORY_MIB)


async def test_a_failed_init_is_told_as_the_function_told_it(tmp_path):
    behaviour = Behaviour(on_init=init_error("Runtime.ImportModuleError", "no", output=b"oh\n"))
    async with machine(tmp_path, behaviour) as built:
        document, log = await failed_start(built)
        assert document["errorType"] == "Runtime.ImportModuleError"
        assert log.startswith("oh\nINIT_REPORT Init Duration: ")
        assert log.endswith("Status: error\tError Type: Runtime.ImportModuleError\n")
        assert built.logs.text.decode() == log


async def test_an_exit_during_init_is_told_as_aws_tells_it(tmp_path):
    async with machine(tmp_path, Behaviour(on_init=end(code=3, output=b"bye\n"))) as built:
        document, log = await failed_start(built)
        assert document == {
            "errorType": "Runtime.ExitError",
            "errorMessage": "Runtime exited with error: exit status 3",
        }
        assert log.startswith("bye\n")


async def test_an_init_that_takes_too_long_is_ended(tmp_path):
    async with machine(tmp_path, Behaviour(on_init=NOTHING), init_limit_s=0.0) as built:
        document, log = await failed_start(built, timeout_s=0.01)
        assert document == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": "Task timed out after 0.01 seconds",
        }
        assert log.endswith("\tPhase: init\tStatus: timeout\n")


async def test_a_sandbox_that_cannot_start_it_is_the_platforms_fault(tmp_path):
    async with machine(tmp_path, Behaviour(on_init=end(failure="no user namespaces"))) as built:
        with pytest.raises(PlatformError, match="no user namespaces") as failed:
            await built.idle()
        assert failed.value.code is ErrorCode.SERVICE
        assert built.leftovers() == {}


async def test_a_refusal_of_the_sandbox_leaves_nothing(tmp_path):
    async with machine(tmp_path) as built:
        with pytest.raises(PlatformError, match="no runtime ruby"):
            await built.idle(runtime="ruby")
        assert built.leftovers() == {}


async def test_code_that_is_not_there_leaves_nothing(tmp_path):
    async with machine(tmp_path) as built:
        with pytest.raises(PlatformError) as failed:
            await built.worker.start(ID, a_version(code=CodeRef("00" * 32, 1)))
        assert failed.value.code is ErrorCode.NOT_FOUND
        assert built.leftovers() == {}


@pytest.mark.parametrize("phase", ["start", "init"])
async def test_a_start_that_is_cancelled_leaves_nothing(tmp_path, phase):
    reached = asyncio.Event()

    async def never(_):
        reached.set()
        await asyncio.Event().wait()

    behaviour = Behaviour(on_start=never) if phase == "start" else Behaviour(on_init=never)
    async with machine(tmp_path, behaviour) as built:
        start = asyncio.create_task(built.idle())
        await reached.wait()
        start.cancel()
        await asyncio.wait([start])
        assert start.cancelled()
        assert built.leftovers() == {}


@pytest.mark.parametrize(
    "sent",
    [
        wire.encode(wire.RESPONSE, None, b"1"),
        wire.encode(99),
        b"\xff" * 64,
        wire.encode(wire.READY) * 2,
        wire.HEADER.pack(wire.READY, 3, 0) + b"[1]",
        wire.HEADER.pack(wire.READY, 60_000, 0) + b"[" * 60_000,
    ],
    ids=["another type", "an unknown type", "noise", "two answers", "no object", "deep nesting"],
)
async def test_an_answer_to_init_that_breaks_the_protocol_ends_the_instance(tmp_path, sent):
    async with machine(tmp_path, Behaviour(on_init=Reaction(send=sent))) as built:
        document, _ = await failed_start(built)
        assert document["errorType"] == "Runtime.ExitError"


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[]", b'{"errorType": "a\\nSTART RequestId: forged"}', b"[" * 100_000],
    ids=["empty", "no text", "no object", "forged lines", "deep nesting"],
)
async def test_an_error_document_of_init_cannot_break_or_forge_the_log(tmp_path, body):
    frame = wire.encode(wire.INIT_ERROR, None, body)
    async with machine(tmp_path, Behaviour(on_init=Reaction(send=frame))) as built:
        with pytest.raises(InitFailedError) as failed:
            await built.idle()
        assert failed.value.payload == body
        assert built.logs.text.endswith(b"Status: error\tError Type: Runtime.Unknown\n")


# ---------------------------------------------------------------- readiness and closing


async def test_preparing_fetches_the_code_and_readies_the_runtime(tmp_path):
    async with machine(tmp_path) as built:
        await built.worker.prepare(built.version)
        assert built.sandbox.prepared == ["python3.11"]
        assert built.worker.status().warm_code == {built.version.code.sha256_hex}
        assert built.leftovers() == {}


async def test_a_closing_worker_starts_nothing(tmp_path):
    async with machine(tmp_path) as built:
        await built.worker.stop_all()
        with pytest.raises(PlatformError) as refused:
            await built.idle()
        assert refused.value.code is ErrorCode.UNAVAILABLE
        assert built.sandbox.starts == []


async def test_an_instance_that_comes_up_while_the_worker_closes_is_stopped(tmp_path):
    going_on = asyncio.Event()

    async def slowly(_):
        await going_on.wait()

    async with machine(tmp_path, Behaviour(on_start=slowly)) as built:
        start = asyncio.create_task(built.idle())
        await until(lambda: built.sandbox.starts)
        await built.worker.stop_all()
        going_on.set()
        await asyncio.wait([start])
        assert start.exception().code is ErrorCode.UNAVAILABLE
        assert built.leftovers() == {}


async def test_a_worker_tells_what_it_has_and_what_it_has_promised_of_it(tmp_path):
    capacity = Capacity(512, 2, 2.0, 1.5, architecture="arm64", zone="rack-1")
    async with machine(tmp_path, capacity=capacity) as built:
        await built.idle(memory_mib=1024)
        status = built.worker.status()
        assert (status.memory_mib, status.free_memory_mib) == (1024, 0)
        assert (status.vcpus, status.free_vcpus) == (3.0, pytest.approx(3 - 1024 / 1769))
        assert (status.architecture, status.zone) == ("arm64", "rack-1")
        assert 0 < status.free_disk_mib <= status.disk_mib


async def test_the_worker_has_the_last_word_on_processors_and_says_why(tmp_path):
    async with machine(tmp_path, capacity=Capacity(8192, 1, cpu_oversubscription=1)) as built:
        await built.idle(memory_mib=1769)
        with pytest.raises(PlatformError) as refused:
            await built.idle(InstanceId("i-2"), memory_mib=128)
        assert refused.value.code is ErrorCode.TOO_MANY_REQUESTS
        assert "0.00 of the 1.00 vCPUs" in refused.value.message


async def test_code_that_the_disk_has_no_room_for_is_not_fetched(tmp_path):
    async with machine(tmp_path) as built:
        sparse = dataclasses.replace(built.version.code, unpacked_bytes=1 << 60)
        with pytest.raises(PlatformError, match="no room on its disk"):
            await built.worker.start(ID, dataclasses.replace(built.version, code=sparse))
        assert built.worker.status().warm_code == frozenset()
