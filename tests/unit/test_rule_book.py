"""Which rules an event goes by, and for how long they are remembered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from samovar.events.rules import RuleBook
from samovar.events.verdict import DEFAULT_MAX_AGE_S, Rules
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import Event
from samovar.model.event_invoke_config import EventInvokeConfig
from samovar.model.function import LATEST, Alias, FunctionId
from tests.contract.samples import a_version, function_id
from tests.unit.known_functions import KnownFunctions

FUNCTION = function_id()
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
LETTERS = "arn:aws:sqs:us-east-1:000000000000:letters"


class KnownConfigs:
    """The part of the `InvocationRuleStore` port that rules are made of."""

    def __init__(self) -> None:
        self.configs: dict[str, EventInvokeConfig] = {}
        self.reads = 0
        self.before_answer: Callable[[], None] = lambda: None
        self.broken: Exception | None = None

    def put(self, qualifier: str = LATEST, **settings: object) -> None:
        self.configs[qualifier] = EventInvokeConfig(
            function=FUNCTION,
            qualifier=qualifier,
            last_modified=dt.datetime.now(dt.UTC),
            **settings,  # type: ignore[arg-type]
        )

    async def get(self, function: FunctionId, qualifier: str) -> EventInvokeConfig | None:
        self.reads += 1
        if self.broken is not None:
            raise self.broken
        found = self.configs.get(qualifier) if function == FUNCTION else None
        self.before_answer()
        return found


@pytest.fixture
def configs() -> KnownConfigs:
    return KnownConfigs()


@pytest.fixture
def functions() -> KnownFunctions:
    known = KnownFunctions(
        a_version(), a_version(version="1", dead_letter_arn=LETTERS), a_version(version="2")
    )
    known.aliases[FUNCTION, "live"] = Alias(FUNCTION, "live", "1", "r")
    return known


@pytest.fixture
def book(configs: KnownConfigs, functions: KnownFunctions) -> RuleBook:
    return RuleBook(configs, functions)  # type: ignore[arg-type]


def event(target: str) -> Event:
    return Event(id="e", queue=FUNCTION.arn, target=target, payload=b"", accepted_at=0, due_at=0)


async def test_without_a_config_aws_s_defaults_apply(book):
    assert await book.rules_of(event(FUNCTION.arn)) == Rules(
        max_retries=2, max_age_s=6 * 3600, on_success_arn=None, on_failure_arn=None
    )


async def test_a_config_may_say_part_of_it(book, configs):
    configs.put(max_retries=0, on_failure_arn=QUEUE)
    rules = await book.rules_of(event(FUNCTION.arn))
    assert rules == Rules(0, DEFAULT_MAX_AGE_S, on_failure_arn=QUEUE)


async def test_the_qualifier_counts_and_the_version_s_dead_letter_queue(book, configs):
    configs.put(on_failure_arn=QUEUE)
    configs.put("live", max_age_s=60)
    assert await book.rules_of(event(FUNCTION.qualified_arn("live"))) == Rules(
        max_age_s=60, dead_letter_arn=LETTERS
    )
    assert await book.rules_of(event(FUNCTION.qualified_arn("1"))) == Rules(dead_letter_arn=LETTERS)
    assert await book.rules_of(event(FUNCTION.qualified_arn("2"))) == Rules()


@pytest.mark.parametrize(
    "target", [QUEUE, function_id("nobody").arn, FUNCTION.qualified_arn("dead"), "no arn"]
)
async def test_what_is_no_function_that_is_there_goes_by_the_defaults(book, target):
    assert await book.rules_of(event(target)) == Rules()


async def test_rules_are_read_once_until_the_function_changes(book, configs):
    for _ in range(3):
        await book.rules_of(event(FUNCTION.arn))
    assert configs.reads == 1
    configs.put(max_retries=1)
    book.forget(FUNCTION)
    assert (await book.rules_of(event(FUNCTION.arn))).max_retries == 1


async def test_what_was_read_before_a_change_is_not_remembered_after_it(book, configs):
    configs.before_answer = lambda: book.forget(FUNCTION)
    await book.rules_of(event(FUNCTION.arn))
    await book.rules_of(event(FUNCTION.arn))
    assert configs.reads == 2


async def test_a_store_that_fails_is_told_and_not_remembered(book, configs):
    configs.broken = PlatformError(ErrorCode.UNAVAILABLE, "busy")
    with pytest.raises(PlatformError, match="busy"):
        await book.rules_of(event(FUNCTION.arn))
    configs.broken = None
    assert await book.rules_of(event(FUNCTION.arn)) == Rules()
