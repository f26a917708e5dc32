"""The end of a runtime that has extensions: what the worker is told, and when."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from samovar.guest import wire
from tests.unit.guest.bridged import BridgedInstance

StartBridged = Callable[..., BridgedInstance]

UNTIL_SHUTDOWN = """
    id = register("INVOKE", "SHUTDOWN")
    while next_event(id)["eventType"] != "SHUTDOWN":
        pass
"""


@pytest.fixture
def bridged(tmp_path: Path) -> Iterator[StartBridged]:
    """Makes instances: `bridged(program, name=extension, …)`."""
    instances = []

    def start(program: str, log: Path | None = None, **extensions: str) -> BridgedInstance:
        folder = tmp_path / str(len(instances))
        instances.append(BridgedInstance(folder, program, extensions, log))
        return instances[-1]

    yield start
    for instance in instances:
        instance.close()


def test_the_client_is_told_before_the_extensions_are_waited_for(bridged):
    instance = bridged(
        "next_invocation(); os.kill(os.getpid(), 9)",
        slow=f"{UNTIL_SHUTDOWN}\n    signal.pause()",
    )
    instance.init()
    _, meta, _ = instance.invoke("tea")
    assert instance.process.poll() is None
    assert meta["fault"] == "Runtime exited with error: signal: killed"
    assert instance.wait() == -9


def test_what_a_runtime_said_before_its_end_is_its_answer(bridged):
    instance = bridged(
        "id, event = next_invocation(); respond(id, event); os._exit(3)", quiet=UNTIL_SHUTDOWN
    )
    instance.init()
    assert instance.invoke("tea") == (wire.RESPONSE, {"pending": True}, b'"tea"')
    with pytest.raises(EOFError):
        instance.read()
    assert instance.wait() == 3


def test_an_instance_whose_runtime_has_ended_does_not_rest_when_its_extension_asks(bridged):
    instance = bridged(
        """
        note("runtime", os.getpid())
        id, event = next_invocation()
        respond(id, event)
        threading.Thread(target=next_invocation, daemon=True).start()
        time.sleep(0.2)
        os._exit(3)
        """,
        slow="""
        id = register("INVOKE", "SHUTDOWN")
        next_event(id)
        with open(os.path.join(os.environ["TEST_FOLDER"], "runtime")) as file:
            runtime = f"/proc/{int(file.read())}"
        while os.path.exists(runtime):
            time.sleep(0.01)
        note("told", next_event(id)["eventType"])
        """,
    )
    instance.init()
    assert instance.invoke("tea")[:2] == (wire.RESPONSE, {"pending": True})
    with pytest.raises(EOFError):
        instance.read()
    assert instance.notes("told") == ["SHUTDOWN"]


def test_all_that_a_dead_runtime_has_printed_is_in_the_log_though_it_is_read_late(
    bridged, tmp_path
):
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    instance = bridged(
        """
        next_invocation()
        note("begun", 1)
        left = b"".join(b"line %06d %s\\n" % (i, b"." * 40) for i in range(3500))
        while left:
            left = left[os.write(1, left):]
        os._exit(3)
        """,
        tmp_path / "fifo",
        quiet="next_event(register())",
    )
    instance.init()
    os.set_blocking(reader, True)
    instance.send(wire.INVOKE, {"id": "one", "arn": "a", "deadline_ms": 9e12}, b"1")
    instance.notes_until("begun")
    read = bytearray()
    while data := os.read(reader, 65536):
        read += data
        instance.pause()
    os.close(reader)
    assert read.count(b"line ") == 3500
    assert instance.wait() == 3


def test_who_asks_again_for_what_did_not_arrive_is_still_at_work(bridged):
    instance = bridged("""
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = HOST.split(":")
        one.connect((host, int(port)))
        one.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        one.recv(1)  # of more than all buffers hold
        one.close()
        id, event = next_invocation()
        respond(id, len(event))
        signal.pause()
    """)
    instance.init()
    assert instance.invoke("x" * 5_000_000) == (wire.RESPONSE, {"pending": True}, b"5000000")
