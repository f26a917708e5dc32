"""What is below /_samovar/: health, logs, code."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from samovar.frontend.own import MAX_TAIL_BYTES, TENANTS_OWN
from samovar.ports import InitFailedError
from tests.unit.known_functions import ACTIVE, front_door

CODE = "ab" * 32


async def test_health_is_200_when_ready_and_503_when_draining():
    async with front_door() as door:
        answer = await door.ask("GET", "/_samovar/health", signed=False)
        assert (answer.status, json.loads(answer.body)) == (
            200,
            {"status": "ready", "isolation": "some"},
        )
        door.application.draining = True
        answer = await door.ask("GET", "/_samovar/health", signed=False)
        assert (answer.status, json.loads(answer.body)["status"]) == (503, "draining")


@pytest.mark.parametrize("target", ["url/f/", f"code/{CODE}", "nothing"])
async def test_while_draining_everything_else_is_a_503(target):
    async with front_door() as door:
        door.application.draining = True
        answer = await door.ask("GET", f"/_samovar/{target}", signed=False)
        assert (answer.status, json.loads(answer.body)["code"]) == (
            503,
            "ServiceUnavailableException",
        )


async def test_a_code_package_is_served_by_its_hash():
    async with front_door() as door:
        door.packages.known[CODE] = b"PK"
        answer = await door.ask("GET", f"/_samovar/code/{CODE}", signed=False)
        assert (answer.status, answer.body, answer["content-type"]) == (
            200,
            b"PK",
            "application/zip",
        )


@pytest.mark.parametrize(
    "target",
    [
        "",
        "nothing",
        "health/x",
        "url",
        "url/",
        f"code/{'cd' * 32}",
        "code/../../etc/passwd",
        "code/..%2f..%2fetc%2fpasswd",
        f"code/{CODE.upper()}",
    ],
)
async def test_what_is_not_there_is_a_404(target):
    async with front_door() as door:
        door.packages.known[CODE] = b"PK"
        assert (await door.ask("GET", f"/_samovar/{target}", signed=False)).status == 404


async def test_an_instance_is_initialised_and_kept_for_the_next_call():
    async with front_door() as door:
        door.returns(b"1")
        answer = await door.ask("POST", "/_samovar/init/f", signed=False)
        assert answer.status == 200
        assert (await door.invoke())["x-samovar-start"] == "warm"


async def test_no_instance_of_a_function_with_tenants_is_started_ahead_and_the_answer_says_so():
    async with front_door(replace(ACTIVE, tenant_isolation=True)) as door:
        answer = await door.ask("POST", "/_samovar/init/f", signed=False)
        assert answer.status == 200
        assert json.loads(answer.body) == {"skipped": ACTIVE.arn, "message": TENANTS_OWN}
        assert door.worker.starting == []


@pytest.mark.parametrize("document", [b'{"errorType": "T", "errorMessage": "M"}', b"[", b"{}"])
async def test_an_init_that_fails_says_why(document):
    async with front_door() as door:
        door.worker.failures = [InitFailedError(document)]
        answer = await door.ask("POST", "/_samovar/init/f", signed=False)
        known = document.startswith(b'{"errorType"')
        expected = "T" if known else "Runtime.Unknown"
        assert (answer.status, json.loads(answer.body)["code"]) == (502, expected)


@pytest.mark.parametrize(("method", "name"), [("GET", "f"), ("POST", "g"), ("POST", "")])
async def test_what_is_not_there_is_not_initialised(method, name):
    async with front_door() as door:
        answer = await door.ask(method, f"/_samovar/init/{name}", signed=False)
        assert answer.status == 404
        assert door.worker.starting == []


async def test_the_newest_log_of_a_function_is_text():
    async with front_door() as door:
        door.logs.text = b"one\ntwo\n"
        answer = await door.ask("GET", "/_samovar/logs/f", signed=False)
        assert (answer.status, answer.body, answer.complete) == (200, b"one\ntwo\n", True)
        assert answer["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("wanted", "size"),
    [
        ("3", 3),
        ("", 65536),
        ("-1", 65536),
        ("abc", 65536),
        ("%C2%B2", 65536),
        ("9" * 5000, 65536),
        ("999999999", MAX_TAIL_BYTES),
    ],
)
async def test_the_length_of_the_log_is_bounded_whatever_is_asked_for(wanted, size):
    async with front_door() as door:
        door.logs.text = b"x" * (MAX_TAIL_BYTES + 10)
        answer = await door.ask("GET", f"/_samovar/logs/f?tail_bytes={wanted}", signed=False)
        assert answer.status == 200
        assert len(answer.body) == size


async def test_following_a_log_sends_what_comes_and_ends_with_it():
    async with front_door() as door:
        door.logs.text, door.logs.feed = b"old\n", [b"new\n", b"newer\n"]
        answer = await door.ask("GET", "/_samovar/logs/f?follow=1", signed=False, stays=True)
        assert (answer.body, answer.complete) == (b"old\nnew\nnewer\n", True)


async def test_a_function_that_is_deleted_as_its_log_begins_to_be_followed_is_not_found():
    async with front_door() as door:
        door.logs.endless = True

        def delete() -> None:
            door.store.versions.clear()
            door.catalog.forget(ACTIVE.id)

        door.logs.before_follow = delete
        answer = await door.ask("GET", "/_samovar/logs/f?follow=1", signed=False, stays=True)
        assert answer.status == 404


async def test_following_a_log_ends_when_the_client_leaves():
    async with front_door() as door:
        door.logs.endless = True
        answer = await door.ask("GET", "/_samovar/logs/f?follow=1", signed=False)
        assert answer.status == 200
        assert not answer.complete


@pytest.mark.parametrize(
    ("target", "status"),
    [("logs/g", 404), ("logs/f%20", 400), ("logs/", 400), ("logs/f?account=..%2F..", 404)],
)
async def test_the_log_of_no_function_is_not_read(target, status):
    async with front_door() as door:
        answer = await door.ask("GET", f"/_samovar/{target}", signed=False)
        assert answer.status == status
        assert set(json.loads(answer.body)) == {"message", "code"}


async def test_a_defect_is_a_500_without_its_details():
    async with front_door() as door:
        door.packages.known = None
        answer = await door.ask("GET", f"/_samovar/code/{CODE}", signed=False)
        assert (answer.status, json.loads(answer.body)["message"]) == (500, "Internal error")


async def test_a_client_that_leaves_in_mid_request_starts_nothing():
    async with front_door() as door:
        answer = await door.ask("POST", "/_samovar/url/f/", [b"x"], signed=False, gone=True)
        assert answer.status == 0
        assert door.worker.asked == []
