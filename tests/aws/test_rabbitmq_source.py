"""RabbitMQ as an event source: real functions, a real broker, unmodified boto3."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.aws.brokers import CREDENTIALS, FAIL_AT_FIRST, NEVER_DONE, PRINT_EVENT, make_secret
from tests.aws.functions import FunctionFactory, clients_of, prefix_of
from tests.aws.moto_server import Moto
from tests.aws.sources import Mappings, eventually
from tests.rabbitmq_broker import RabbitMq, missing, running_rabbitmq
from tests.server import Server, running

# On a machine with much else to do the broker takes its time to start.
pytestmark = pytest.mark.timeout(300)

ARN = "arn:aws:mq:us-east-1:000000000000:broker:tea:b-1234"


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    """A broker."""
    if reason := missing():
        pytest.skip(reason)
    with running_rabbitmq(tmp_path_factory.mktemp("rabbitmq") / "broker") as started:
        yield started


@pytest.fixture(scope="session")
def settings(moto: Moto, rabbitmq: RabbitMq) -> dict[str, str]:
    """Of servers that know the broker as `tea`."""
    return {
        "SAMOVAR_AWS_ENDPOINT": moto.endpoint,
        "SAMOVAR_MQ_BROKERS": f"tea={rabbitmq.url}, lost=amqp://127.0.0.1:1/",
    }


@pytest.fixture(scope="session")
def mq_server(
    needs_wiring: None, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("mq-server") / "data"
    with running(data_dir, "--no-examples", **settings) as started:
        yield started


@pytest.fixture(scope="session")
def mq_lambda(mq_server: Server) -> Iterator[Any]:
    with clients_of(mq_server.endpoint) as make:
        yield make()


@pytest.fixture
def make_mq_function(
    mq_lambda: Any, mq_server: Server, request: pytest.FixtureRequest
) -> Iterator[FunctionFactory]:
    prefix = prefix_of(request.node.name)
    factory = FunctionFactory(mq_lambda, prefix, mq_server.newest_runtime())
    yield factory
    factory.close()


@pytest.fixture
def mq_mappings(mq_lambda: Any, mq_server: Server) -> Iterator[Mappings]:
    made = Mappings(mq_lambda, mq_server)
    yield made
    made.close()


@pytest.fixture
def queue(rabbitmq: RabbitMq) -> str:
    name = f"pots-{uuid.uuid4()}"
    rabbitmq.declare(name)
    return name


@pytest.fixture(scope="session")
def secret(moto: Moto) -> str:
    """The ARN of the broker's user and password."""
    return make_secret(moto, f"rabbitmq-{uuid.uuid4()}", CREDENTIALS)


def mapping_of(queue: str, secret: str) -> dict[str, Any]:
    return {
        "EventSourceArn": ARN,
        "Queues": [queue],
        "SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": secret}],
    }


@pytest.fixture
def map_queue(queue: str, secret: str, mq_mappings: Mappings) -> Callable[..., str]:
    """Maps the queue to a function; returns the mapping's UUID."""

    def create(function: str, **settings: Any) -> str:
        return mq_mappings.create(FunctionName=function, **mapping_of(queue, secret) | settings)

    return create


def bodies(events: list[Any]) -> list[str]:
    """The messages in events, one after another."""
    return [
        base64.b64decode(message["data"]).decode()
        for event in events
        for messages in event["rmqMessagesByQueue"].values()
        for message in messages
    ]


def test_messages_come_as_aws_documents_them(
    rabbitmq, queue, map_queue, make_mq_function, mq_mappings
):
    rabbitmq.publish(
        queue,
        b"Assam",
        content_type="text/plain",
        headers={"origin": "☕", "cups": 3},
        expiration="60000",
        message_id="m-1",
    )
    function = make_mq_function(PRINT_EVENT)
    map_queue(function)
    [event] = mq_mappings.printed_events(function, 1)
    [message] = event["rmqMessagesByQueue"].pop(f"{queue}::/")
    assert event == {
        "eventSource": "aws:rmq",
        "eventSourceArn": ARN,
        "rmqMessagesByQueue": {},
    }
    assert message == {
        "basicProperties": {
            "contentType": "text/plain",
            "contentEncoding": None,
            "headers": {"origin": {"bytes": [-30, -104, -107]}, "cups": 3},
            "deliveryMode": 2,
            "priority": None,
            "correlationId": None,
            "replyTo": None,
            "expiration": "60000",
            "messageId": "m-1",
            "timestamp": None,
            "type": None,
            "userId": None,
            "appId": None,
            "clusterId": None,
            "bodySize": 5,
        },
        "redelivered": False,
        "data": base64.b64encode(b"Assam").decode(),
    }


def test_a_batch_that_fails_comes_again_as_redelivered(
    rabbitmq, queue, map_queue, make_mq_function, mq_mappings
):
    rabbitmq.publish(queue, b"a", b"b", b"c")
    function = make_mq_function(FAIL_AT_FIRST)
    uuid = map_queue(function, BatchSize=3)
    first, second = mq_mappings.printed_events(function, 2)
    assert bodies([first, second]) == ["a", "b", "c"] * 2
    again = [each["redelivered"] for each in second["rmqMessagesByQueue"][f"{queue}::/"]]
    assert again == [True] * 3
    mq_mappings.await_result(uuid, "OK")
    mq_mappings.delete(uuid)
    assert rabbitmq.waiting(queue) == 0


def test_what_a_throttled_function_cannot_take_is_kept_and_not_counted_as_delivered(
    rabbitmq, queue, map_queue, make_mq_function, mq_lambda, mq_mappings
):
    rabbitmq.publish(queue, b"patient")
    function = make_mq_function(PRINT_EVENT)
    mq_lambda.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    uuid = map_queue(function)
    mq_mappings.await_result(uuid, "PROBLEM: ")
    mq_lambda.delete_function_concurrency(FunctionName=function)
    [event] = mq_mappings.printed_events(function, 1)
    [message] = event["rmqMessagesByQueue"][f"{queue}::/"]
    assert message["redelivered"] is False


def test_poison_goes_where_the_queue_sends_it(rabbitmq, secret, make_mq_function, mq_mappings):
    poisoned, dead = f"poisoned-{uuid.uuid4()}", f"dead-{uuid.uuid4()}"
    rabbitmq.declare(dead)
    limits = {
        "x-queue-type": "quorum",
        "x-delivery-limit": 1,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead,
    }
    rabbitmq.declare(poisoned, **limits)
    rabbitmq.publish(poisoned, b"poison")
    function = make_mq_function(
        """
        def handler(event, context):
            raise RuntimeError("ugh")
        """
    )
    uuid_ = mq_mappings.create(FunctionName=function, **mapping_of(poisoned, secret))
    eventually(lambda: rabbitmq.waiting(dead) == 1)
    mq_mappings.await_result(uuid_, "PROBLEM: Function call failed")


def test_filters_see_data_and_properties(rabbitmq, queue, map_queue, make_mq_function, mq_mappings):
    rabbitmq.publish(queue, b'{"leaf": "oolong"}', b"no JSON", b'{"leaf": "sencha"}', priority=3)
    function = make_mq_function(PRINT_EVENT)
    pattern = {"data": {"leaf": ["sencha"]}, "basicProperties": {"priority": [3]}}
    uuid = map_queue(function, FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)}]})
    assert bodies(mq_mappings.printed_events(function, 1)) == ['{"leaf": "sencha"}']
    mq_mappings.await_result(uuid, "OK")
    mq_mappings.delete(uuid)
    assert rabbitmq.waiting(queue) == 0


def test_what_is_filtered_out_leaves_the_batch_room_to_fill(
    rabbitmq, queue, map_queue, make_mq_function, mq_mappings
):
    rabbitmq.publish(queue, b"yes", *[b"no"] * 10, b"yes")
    function = make_mq_function(PRINT_EVENT)
    filters = {"Filters": [{"Pattern": '{"data": ["yes"]}'}]}
    window = {"MaximumBatchingWindowInSeconds": 300}
    map_queue(function, BatchSize=2, FilterCriteria=filters, **window)
    assert bodies(mq_mappings.printed_events(function, 1)) == ["yes", "yes"]


def test_a_message_that_fits_into_no_event_does_not_stop_those_behind_it(
    rabbitmq, queue, map_queue, make_mq_function, mq_mappings
):
    rabbitmq.publish(queue, b"x" * 7_000_000, b"small")
    function = make_mq_function(PRINT_EVENT)
    map_queue(function)
    assert bodies(mq_mappings.printed_events(function, 1)) == ["small"]


def test_batches_end_at_the_size_of_an_event(
    rabbitmq, queue, map_queue, make_mq_function, mq_mappings
):
    rabbitmq.publish(queue, *[b"x" * 1_000_000] * 12)
    function = make_mq_function(
        """
        def handler(event, context):
            [messages] = event["rmqMessagesByQueue"].values()
            print(f"EVENT {len(messages)}")
        """
    )
    map_queue(function, MaximumBatchingWindowInSeconds=5)
    eventually(lambda: sum(mq_mappings.printed(function)) == 12)
    assert mq_mappings.printed(function)[0] == 4


def test_a_broker_that_was_killed_has_kept_what_was_not_acknowledged(
    rabbitmq, queue, map_queue, make_mq_function, mq_mappings
):
    rabbitmq.publish(queue, b"before")
    function = make_mq_function(PRINT_EVENT)
    map_queue(function)
    mq_mappings.printed_events(function, 1)
    rabbitmq.kill()
    rabbitmq.start()
    rabbitmq.publish(queue, b"after")
    eventually(lambda: "after" in bodies(mq_mappings.printed(function)))


def test_a_queue_that_is_not_there_is_a_problem_that_is_shown(
    secret, make_mq_function, mq_mappings
):
    function = make_mq_function(PRINT_EVENT)
    uuid = mq_mappings.create(FunctionName=function, **mapping_of("nowhere", secret))
    mq_mappings.await_result(uuid, "PROBLEM: RabbitMQ: NOT_FOUND")


def test_a_wrong_password_is_a_problem_that_is_shown_without_it(
    moto, queue, make_mq_function, mq_mappings, mq_server
):
    wrong = make_secret(moto, f"wrong-{uuid.uuid4()}", CREDENTIALS | {"password": "hunter2"})
    function = make_mq_function(PRINT_EVENT)
    mapping = mq_mappings.create(FunctionName=function, **mapping_of(queue, wrong))
    mq_mappings.await_result(mapping, "PROBLEM: RabbitMQ: ")
    assert "hunter2" not in mq_server.stderr() + str(mq_mappings.get(mapping))


def test_a_broker_that_does_not_answer_is_a_problem_that_is_shown(
    queue, secret, make_mq_function, mq_mappings
):
    function = make_mq_function(PRINT_EVENT)
    lost = mapping_of(queue, secret) | {"EventSourceArn": ARN.replace(":tea:", ":lost:")}
    uuid = mq_mappings.create(FunctionName=function, **lost)
    mq_mappings.await_result(uuid, "PROBLEM: RabbitMQ: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"EventSourceArn": ARN.replace(":tea:", ":coffee:")}, "SAMOVAR_MQ_BROKERS"),
        ({"SourceAccessConfigurations": []}, "One BASIC_AUTH"),
        (
            {"SourceAccessConfigurations": [{"Type": "BASIC_AUTH", "URI": "guest:guest"}]},
            "not the ARN of a secret",
        ),
        (
            {"SourceAccessConfigurations": [{"Type": "SASL_SCRAM_256_AUTH", "URI": "guest"}]},
            "no way to access RabbitMQ",
        ),
    ],
)
def test_what_cannot_be_polled_is_refused(
    queue, secret, mq_lambda, make_mq_function, change, message
):
    function = make_mq_function(PRINT_EVENT)
    with pytest.raises(mq_lambda.exceptions.InvalidParameterValueException, match=message):
        mq_lambda.create_event_source_mapping(
            FunctionName=function, **mapping_of(queue, secret) | change
        )


@pytest.mark.slow
def test_what_a_killed_server_had_begun_comes_again(rabbitmq, queue, secret, settings, tmp_path):
    rabbitmq.publish(queue, b"precious")
    with (
        running(tmp_path / "data", "--no-examples", **settings) as server,
        clients_of(server.endpoint) as make,
    ):
        factory = FunctionFactory(make(), "killed", server.newest_runtime())
        function = factory(NEVER_DONE, Timeout=90)
        mappings = Mappings(make(), server)
        mappings.create(FunctionName=function, **mapping_of(queue, secret))
        [begun] = mappings.printed_events(function, 1)
        server.kill()
    again_settings = settings | {"SAMOVAR_DRAIN_TIMEOUT_S": "0"}
    with (
        running(tmp_path / "data", "--no-examples", **again_settings) as server,
        clients_of(server.endpoint) as make,
    ):
        mappings = Mappings(make(), server)
        [again] = eventually(lambda: [e for e in mappings.printed(function) if e != begun])
        assert bodies([again]) == ["precious"]
        assert again["rmqMessagesByQueue"][f"{queue}::/"][0]["redelivered"] is True
