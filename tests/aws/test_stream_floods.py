"""Functions that speak to the server themselves, and flood it with trifles."""

from __future__ import annotations

import json
import struct
import threading

import pytest

FLOOD = """
    import os, socket, struct
    def handler(event, context):
        channel = socket.socket(fileno=os.dup(3))
        channel.setblocking(True)
        channel.sendall(bytes.fromhex(event["first"]))
        while True:
            channel.sendall(bytes.fromhex(event["then"]) * event["at_once"])
"""
PLAIN = "def handler(event, context): return event"


def frame(kind: int, body: bytes = b"") -> bytes:
    """As `samovar.guest.wire` has it."""
    return struct.pack("!BII", kind, 0, len(body)) + body


HEAD, EMPTY, SMALL = frame(7), frame(8), frame(8, b"x")


def flood(client, name, then, at_once):
    event = {"first": HEAD.hex(), "then": then.hex(), "at_once": at_once}
    return client.invoke(FunctionName=name, Payload=json.dumps(event))


def test_parts_without_content_end_the_instance(make_function, lambda_client):
    name = make_function(FLOOD, Timeout=30)
    answer = flood(lambda_client, name, EMPTY, 7000)
    assert json.load(answer["Payload"])["errorType"] == "Runtime.ExitError"


@pytest.mark.parametrize("at_once", [1, 7000])
def test_others_are_served_while_a_function_streams_trifles(
    make_function, lambda_client, client_of, at_once
):
    hostile, other = make_function(FLOOD, Timeout=3, MemorySize=1769), make_function(PLAIN)
    answers = []
    flooding = threading.Thread(
        target=lambda: answers.append(flood(client_of(), hostile, SMALL, at_once))
    )
    flooding.start()
    served = 0
    while flooding.is_alive():
        answer = lambda_client.invoke(FunctionName=other, Payload=b'"tea"')
        assert answer["Payload"].read() == b'"tea"'
        served += 1
    flooding.join()
    assert served
    assert json.load(answers[0]["Payload"])["errorType"] == "Sandbox.Timedout"
