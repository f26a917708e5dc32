"""Clients of services: where they go, and what they do not believe."""

from __future__ import annotations

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from samovar.config import Config
from samovar.events import aws_http
from samovar.events.clients import AwsClients
from samovar.model.errors import PlatformError
from tests.aws.answering import answering
from tests.aws.moto_server import Moto


async def test_clients_are_shared_and_made_once(moto: Moto) -> None:
    async with (
        AwsClients(Config(aws_endpoint=moto.endpoint)) as clients,
        clients.client("sqs", "us-east-1") as one,
        clients.client("sqs", "us-east-1") as same,
        clients.client("sqs", "eu-west-1") as other,
    ):
        assert one is same
        assert one is not other
        url = (await one.create_queue(QueueName="shared"))["QueueUrl"]
        assert url.startswith(moto.endpoint)


async def test_clients_that_nobody_uses_make_room_for_others() -> None:
    async with AwsClients(Config(aws_endpoint="http://127.0.0.1:1"), most=1) as clients:
        async with clients.client("sqs", "us-east-1") as used:
            async with clients.client("sqs", "eu-west-1"):
                pass
            async with clients.client("sqs", "us-east-1") as still:
                assert still is used
        async with clients.client("sqs", "eu-west-2"):
            pass
        async with clients.client("sqs", "us-east-1") as new:
            assert new is not used


async def test_a_service_without_an_endpoint_is_refused_with_what_to_set() -> None:
    async with AwsClients(Config(s3_endpoint="http://127.0.0.1:1")) as clients:
        assert clients.endpoint_of("sqs") is None
        with pytest.raises(PlatformError, match="SAMOVAR_SQS_ENDPOINT"):
            async with clients.client("sqs", "us-east-1"):
                pass


async def test_requests_are_signed_with_what_is_configured_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "machine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "machine")
    monkeypatch.setenv("AWS_PROFILE", "machine")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (url, heads):
        for given, key in (({}, b"samovar"), ({"aws_access_key_id": "mine"}, b"mine")):
            secret = {"aws_secret_access_key": "x"} if given else {}
            async with (
                AwsClients(Config(sqs_endpoint=url, **given, **secret)) as clients,
                clients.client("sqs", "us-east-1") as sqs,
            ):
                await sqs.list_queues()
            assert b"Credential=" + key + b"/" in heads[-1]


async def test_a_redirect_to_another_host_is_not_followed() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (other, seen):
        redirect = f"HTTP/1.1 307 Go\r\nLocation: {other}/\r\nContent-Length: 0\r\n\r\n".encode()
        async with (
            answering(redirect) as (url, _),
            AwsClients(Config(sqs_endpoint=url)) as clients,
            clients.client("sqs", "us-east-1") as sqs,
        ):
            with pytest.raises(BotoCoreError, match="redirect"):
                await sqs.list_queues()
        assert seen == []


@pytest.mark.parametrize(
    "answer",
    [
        [b"no HTTP at all\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n"],
        [b"HTTP/1.1 200 " + b"x" * 100_000],
        [b"HTTP/1.1 200 OK\r\n\r\n", *[b" " * 2**20] * (1 + aws_http.MAX_ANSWER_BYTES // 2**20)],
        [b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\n<<<<"],
    ],
    ids=["no http", "cut off", "no chunk", "endless line", "too large", "error"],
)
async def test_garbage_is_an_error_like_any_other(answer: list[bytes]) -> None:
    async with (
        answering(*answer) as (url, _),
        AwsClients(Config(sqs_endpoint=url)) as clients,
        clients.client("sqs", "us-east-1") as sqs,
    ):
        with pytest.raises((BotoCoreError, ClientError)):
            await sqs.list_queues()
