"""How to log in to a Kafka cluster: what SourceAccessConfigurations say, as a client needs it.

As on AWS, a user and a password go over TLS alone.
https://docs.aws.amazon.com/lambda/latest/dg/kafka-cluster-auth.html
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from samovar.events.sources.poller import SourceError
from samovar.events.sources.source_secrets import secret_field
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_source import SourceAccess

SASL_MECHANISMS: Mapping[str, str] = {
    "BASIC_AUTH": "PLAIN",
    "SASL_SCRAM_256_AUTH": "SCRAM-SHA-256",
    "SASL_SCRAM_512_AUTH": "SCRAM-SHA-512",
}
CLIENT_CERTIFICATE = "CLIENT_CERTIFICATE_TLS_AUTH"
ROOT_CERTIFICATE = "SERVER_ROOT_CA_CERTIFICATE"
NETWORKS = frozenset({"VPC_SUBNET", "VPC_SECURITY_GROUP"})

_WAYS_IN = frozenset({*SASL_MECHANISMS, CLIENT_CERTIFICATE})


@dataclass(frozen=True, slots=True)
class KafkaLogin:
    """What a client is made with."""

    security_protocol: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


def check_access(access: Sequence[SourceAccess]) -> None:
    """Raise INVALID_PARAMETER for what is no way to log in to Kafka, or not here. Pure."""
    types = [each.type for each in access]
    if refused := NETWORKS.intersection(types):
        raise _invalid(f"{' and '.join(sorted(refused))} cannot be used: there is no VPC here.")
    if unknown := set(types) - _WAYS_IN - {ROOT_CERTIFICATE}:
        raise _invalid(f"{', '.join(sorted(unknown))} is no way to access Apache Kafka.")
    if len(types) != len(set(types)) or len(_WAYS_IN.intersection(types)) > 1:
        raise _invalid("Only one way to authenticate with the cluster can be given.")


def login(access: Sequence[SourceAccess], secrets: Mapping[str, Mapping[str, str]]) -> KafkaLogin:
    """`secrets`: those that `access` names, by their ARNs. Raises `SourceError`."""
    by_type = {each.type: each.uri for each in access}
    if not by_type:
        return KafkaLogin()
    try:
        tls = _tls(by_type, secrets)
    except (ssl.SSLError, ValueError, TypeError):
        # Not chained: the cause may tell of the content.
        raise SourceError("A certificate or its private key cannot be used") from None
    for kind, mechanism in SASL_MECHANISMS.items():
        if arn := by_type.get(kind):
            user = secret_field(arn, secrets[arn], "username")
            password = secret_field(arn, secrets[arn], "password")
            return KafkaLogin("SASL_SSL", mechanism, user, password, tls)
    return KafkaLogin("SSL", tls=tls)


def _tls(by_type: Mapping[str, str], secrets: Mapping[str, Mapping[str, str]]) -> ssl.SSLContext:
    root = None
    if arn := by_type.get(ROOT_CERTIFICATE):
        root = secret_field(arn, secrets[arn], "certificate")
        if not root:  # OpenSSL would trust the machine's authorities
            raise ValueError("no certificate")
    context = ssl.create_default_context(cadata=root)
    if arn := by_type.get(CLIENT_CERTIFICATE):
        secret = secrets[arn]
        pem = secret_field(arn, secret, "certificate") + "\n"
        pem += secret_field(arn, secret, "privateKey") + "\n"
        _load_chain(context, pem, secret.get("privateKeyPassword", ""))
    return context


def _load_chain(context: ssl.SSLContext, pem: str, password: str) -> None:
    """OpenSSL reads keys from files only: this one is in memory, and nobody else's. Without a
    password for a key that has one it would ask at the terminal."""
    memory = os.memfd_create("key", os.MFD_CLOEXEC)
    with os.fdopen(memory, "wb") as file:
        file.write(pem.encode())
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{memory}", password=password)


def _invalid(message: str) -> PlatformError:
    return PlatformError(ErrorCode.INVALID_PARAMETER, message)
