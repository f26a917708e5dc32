"""Settings."""

from __future__ import annotations

import pytest

from samovar.config import Config, ConfigError


def test_a_flag_wins_over_its_variable_and_that_over_the_default():
    config = Config.from_sources({"SAMOVAR_PORT": "1", "SAMOVAR_BLANKS": "2"}, port=3, host=None)
    assert (config.port, config.blanks, config.host) == (3, 2, "127.0.0.1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "x"),
        ("PORT", "65536"),
        ("CPU_OVERSUBSCRIPTION", "-1"),
        ("ZONE", "a zone"),
        ("ISOLATION", "most"),
        ("EXAMPLES", "perhaps"),
        ("QUEUE_TIMEOUT_S", "nan"),
        ("ACCOUNT_CONCURRENCY", "0"),
        ("AWS_ENDPOINT", "localhost:4566"),
        ("AWS_ENDPOINT", "http://key:secret@localhost"),
        ("SQS_ENDPOINT", "ftp://localhost"),
        ("SQS_ENDPOINT", "http://localhost:http"),
        ("S3_ENDPOINT", "http://localhost/?x"),
        ("AWS_ACCESS_KEY_ID", "without a secret"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=name.lower()):
        Config.from_sources({f"SAMOVAR_{name}": value})


def test_usable_memory_is_what_is_given_else_nine_tenths_of_what_is_found():
    assert Config(memory_mib=1000).usable_memory_mib(machine_mib=5000) == 1000
    assert Config().usable_memory_mib(machine_mib=5000) == 4500


def test_allowed_hosts_are_names_and_nothing_else():
    names = Config(allowed_hosts="a.example, b.example,").host_names
    assert names == {"127.0.0.1", "a.example", "b.example"}


def test_a_terminal_is_for_functions_without_isolation_alone():
    for mode in ("auto", "process"):
        with pytest.raises(ConfigError, match="terminal"):
            Config.from_sources({}, isolation=mode, terminal="/dev/pts/0")
    assert Config.from_sources({}, isolation="none", terminal="/dev/pts/0").terminal


def test_a_service_is_at_the_endpoint_of_all_unless_it_has_its_own():
    config = Config.from_sources(
        {"SAMOVAR_AWS_ENDPOINT": "http://all", "SAMOVAR_DYNAMODB_ENDPOINT": "http://tables"}
    )
    assert config.endpoint_of("sqs") == "http://all"
    assert config.endpoint_of("dynamodbstreams") == "http://tables"
    assert config.endpoint_of("iam") is None
    assert Config().endpoint_of("sqs") is None


def test_secrets_are_not_shown():
    config = Config(aws_access_key_id="id", aws_secret_access_key="a secret")
    assert "a secret" not in repr(config)
