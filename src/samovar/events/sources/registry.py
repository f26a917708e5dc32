"""Which kinds of sources can be polled, and by what."""

from __future__ import annotations

from collections.abc import Mapping

from samovar.events.clients import AwsClients
from samovar.events.sources.poller import Source
from samovar.events.sources.sqs import SqsSource
from samovar.model.event_source import SourceKind


def source_kinds(clients: AwsClients) -> Mapping[SourceKind, Source]:
    """Every kind of source."""
    return {SourceKind.SQS: SqsSource(clients)}
