"""Services that hang: one event at a time finds out whether they answer again."""

from __future__ import annotations

import asyncio

import pytest

from samovar.events.senders.hanging import Hanging
from samovar.events.sending import SendError


def ends(hanging: Hanging, error: type[BaseException] | None = None) -> None:
    """One sending, from its beginning to this end."""
    try:
        with hanging.finding_out("sqs"):
            if error is not None:
                raise error
    except (TimeoutError, ValueError, asyncio.CancelledError) as raised:
        assert type(raised) is error


def test_a_service_that_answers_is_sent_many_at_a_time():
    hanging = Hanging()
    with hanging.finding_out("sqs"), hanging.finding_out("sqs"):
        pass


def test_while_it_hangs_one_finds_out_and_the_others_are_told():
    hanging = Hanging()
    ends(hanging, TimeoutError)
    with hanging.finding_out("sqs"):
        with pytest.raises(SendError, match="not answered lately") as refused:
            ends(hanging)
        assert not refused.value.lasting
        with hanging.finding_out("sns"):
            pass


@pytest.mark.parametrize("error", [None, ValueError], ids=["taken", "refused"])
def test_any_answer_is_one(error):
    hanging = Hanging()
    ends(hanging, TimeoutError)
    ends(hanging, error)
    with hanging.finding_out("sqs"), hanging.finding_out("sqs"):
        pass


@pytest.mark.parametrize("error", [TimeoutError, asyncio.CancelledError])
def test_who_does_not_find_out_leaves_it_to_the_next(error):
    hanging = Hanging()
    ends(hanging, TimeoutError)
    ends(hanging, error)
    with hanging.finding_out("sqs"), pytest.raises(SendError):
        ends(hanging)
