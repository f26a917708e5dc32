"""How the source logs in to Kafka."""

from __future__ import annotations

import ssl

import pytest

from samovar.events.sources.kafka.login import check_access, login
from samovar.events.sources.poller import SourceError
from samovar.events.sources.source_secrets import secret_fields
from samovar.model.errors import PlatformError
from samovar.model.event_source import SourceAccess
from tests.certificates import Certificate

USER = {"username": "joe", "password": "hunter2"}


def access(*types: str) -> list[SourceAccess]:
    """Each names the secret that is called like it."""
    return [SourceAccess(each, each) for each in types]


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return Certificate.make()


def test_without_access_there_is_no_login():
    assert login([], {}).security_protocol == "PLAINTEXT"


@pytest.mark.parametrize(
    ("kind", "mechanism"),
    [
        ("BASIC_AUTH", "PLAIN"),
        ("SASL_SCRAM_256_AUTH", "SCRAM-SHA-256"),
        ("SASL_SCRAM_512_AUTH", "SCRAM-SHA-512"),
    ],
)
def test_passwords_go_over_tls_to_brokers_that_are_verified(kind, mechanism):
    made = login(access(kind), {kind: USER})
    assert (made.security_protocol, made.mechanism) == ("SASL_SSL", mechanism)
    assert (made.user, made.password) == ("joe", "hunter2")
    assert made.tls is not None
    assert made.tls.verify_mode is ssl.CERT_REQUIRED
    assert made.tls.check_hostname
    assert "hunter2" not in repr(made)


def test_a_root_certificate_is_trusted_alone(certificate):
    kind = "SERVER_ROOT_CA_CERTIFICATE"
    made = login(access(kind), {kind: {"certificate": certificate.pem}})
    assert made.security_protocol == "SSL"
    assert made.tls is not None
    assert [found["subject"] for found in made.tls.get_ca_certs()] == [
        ((("commonName", "localhost"),),)
    ]


@pytest.mark.parametrize("password", ["", "hunter2"])
def test_a_client_certificate_is_loaded_with_its_key(certificate, password):
    kind = "CLIENT_CERTIFICATE_TLS_AUTH"
    secret = {"certificate": certificate.pem, "privateKey": certificate.key(password)}
    if password:
        secret["privateKeyPassword"] = password
    assert login(access(kind), {kind: secret}).security_protocol == "SSL"


@pytest.mark.parametrize(
    ("kind", "secret"),
    [
        ("BASIC_AUTH", {"username": "joe"}),
        ("SERVER_ROOT_CA_CERTIFICATE", {"certificate": "hunter2"}),
        ("SERVER_ROOT_CA_CERTIFICATE", {"certificate": ""}),
        ("CLIENT_CERTIFICATE_TLS_AUTH", {"certificate": "hunter2", "privateKey": "hunter2"}),
        ("CLIENT_CERTIFICATE_TLS_AUTH", {"certificate": "hunter2"}),
    ],
)
def test_secrets_that_are_of_no_use_are_a_problem_that_does_not_quote_them(kind, secret):
    with pytest.raises(SourceError) as told:
        login(access(kind), {kind: secret})
    assert "hunter2" not in str(told.value)
    assert told.value.__cause__ is None


def test_a_key_whose_password_is_missing_asks_nobody(certificate):
    kind = "CLIENT_CERTIFICATE_TLS_AUTH"
    secret = {"certificate": certificate.pem, "privateKey": certificate.key("hunter2")}
    with pytest.raises(SourceError):
        login(access(kind), {kind: secret})


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (["VPC_SUBNET"], "no VPC here"),
        (["BASIC_AUTH", "VPC_SECURITY_GROUP"], "no VPC here"),
        (["VIRTUAL_HOST"], "no way to access"),
        (["BASIC_AUTH", "BASIC_AUTH"], "Only one way"),
        (["BASIC_AUTH", "CLIENT_CERTIFICATE_TLS_AUTH"], "Only one way"),
    ],
)
def test_what_is_no_access_is_refused(types, message):
    with pytest.raises(PlatformError, match=message):
        check_access(access(*types))


@pytest.mark.parametrize("way", ["BASIC_AUTH", "CLIENT_CERTIFICATE_TLS_AUTH"])
def test_whom_to_trust_goes_with_any_way_in(way):
    check_access(access(way, "SERVER_ROOT_CA_CERTIFICATE"))


@pytest.mark.parametrize(
    "text",
    [None, b"x", "", "hunter2", '["hunter2"]', '{"a": {"hunter2": 1}}', "[" * 9999],
)
def test_a_secret_that_is_no_object_of_texts_is_not_quoted(text):
    with pytest.raises(SourceError) as told:
        secret_fields("arn:s", text)
    assert "hunter2" not in str(told.value)
    assert told.value.__cause__ is None
