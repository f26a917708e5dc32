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
        ("ISOLATION", "most"),
        ("EXAMPLES", "perhaps"),
        ("QUEUE_TIMEOUT_S", "nan"),
        ("ACCOUNT_CONCURRENCY", "0"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=name.lower()):
        Config.from_sources({f"SAMOVAR_{name}": value})


def test_oversubscription_multiplies_what_is_given_and_what_is_found():
    given = Config(memory_mib=1000, memory_oversubscription=2)
    assert given.promised_memory_mib(machine_mib=5000) == 2000
    found = Config(memory_oversubscription=2)
    assert found.promised_memory_mib(machine_mib=5000) == 9000


def test_allowed_hosts_are_names_and_nothing_else():
    names = Config(allowed_hosts="a.example, b.example,").host_names
    assert names == {"127.0.0.1", "a.example", "b.example"}


def test_a_terminal_is_for_functions_without_isolation_alone():
    for mode in ("auto", "process"):
        with pytest.raises(ConfigError, match="terminal"):
            Config.from_sources({}, isolation=mode, terminal="/dev/pts/0")
    assert Config.from_sources({}, isolation="none", terminal="/dev/pts/0").terminal
