"""Which hosts event sources may be on, and where brokers are."""

from __future__ import annotations

import pytest

from samovar.model.mq_brokers import MqBroker, broker_name, parse_brokers
from samovar.model.source_hosts import HostRules, Place


@pytest.mark.parametrize(
    ("rules", "place", "allowed"),
    [
        ("*", "broker:9092", True),
        ("*", "[::1]:9092", True),
        ("", "broker:9092", False),
        ("broker", "broker:9092", True),
        ("broker", "BROKER:1", True),
        ("BROKER", "broker:1", True),
        ("broker:9092", "broker:9092", True),
        ("broker:9092", "broker:9093", False),
        ("broker", "other-broker:9092", False),
        ("broker", "broker.evil:9092", False),
        ("*.internal", "a.b.internal:1", True),
        ("*.internal", "internal:1", False),
        ("*.internal", "a.internal.evil:1", False),
        ("10.0.*.7:9092", "10.0.3.7:9092", True),
        ("10.0.*.7:9092", "10.1.3.7:9092", False),
        ("a*a", "a:1", False),
        ("a*b*c", "axbxc:1", True),
        ("a*b*c", "axcxb:1", False),
        ("[::1]", "[::1]:9092", True),
        ("[fd00:*]:9092", "[fd00::7]:9092", True),
        ("one, two:2 ,", "two:2", True),
        ("one, two:2 ,", "two:3", False),
    ],
)
def test_rules_allow_places_by_name_and_port(rules, place, allowed):
    assert HostRules.parse(rules).allow(Place.parse(place)) is allowed


@pytest.mark.parametrize(
    "text", ["", ":9092", "a b", "host:0", "host:65536", "host:x", "amqp://host", "::1", "a,b", "ä"]
)
def test_what_is_no_place_is_refused(text):
    with pytest.raises(ValueError, match=r"host:port|ports"):
        Place.parse(text)


def test_a_pattern_of_many_stars_takes_no_time():
    rules = HostRules.parse("*a" * 1000 + "b")
    assert not rules.allow(Place("a" * 100_000, 1))


def test_brokers_have_names():
    brokers = parse_brokers("one=amqp://127.0.0.1:5673/, two=amqps://mq.example")
    assert brokers == {
        "one": MqBroker("127.0.0.1", 5673, tls=False),
        "two": MqBroker("mq.example", 5671, tls=True),
    }


@pytest.mark.parametrize(
    "text",
    [
        "amqp://host/",
        "=amqp://host/",
        "a b=amqp://host/",
        "one=http://host/",
        "one=amqp://",
        "one=amqp://host:port/",
        "one=amqp://host/vhost",
        "one=amqp://host/?heartbeat=1",
        "one=amqp://host,one=amqp://host",
        "one=amqp://user:secret@host/",
        "user:secret@host",
    ],
)
def test_brokers_that_make_no_sense_are_refused_without_telling_a_password(text):
    with pytest.raises(ValueError) as refusal:
        parse_brokers(text)
    assert "secret" not in str(refusal.value).replace("mapping's secret", "")


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        ("arn:aws:mq:us-east-1:000000000000:broker:tea:b-1234", "tea"),
        ("arn:aws-cn:mq:cn-north-1:000000000000:broker:tea:b-1234", "tea"),
        ("arn:aws:mq:us-east-1:000000000000:broker:tea", None),
        ("arn:aws:mq:us-east-1:000000000000:configuration:tea:c-1", None),
        ("arn:aws:sqs:us-east-1:000000000000:tea", None),
        ("", None),
    ],
)
def test_an_arn_names_its_broker(arn, name):
    assert broker_name(arn) == name
