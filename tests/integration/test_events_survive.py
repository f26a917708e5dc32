"""No accepted event is lost, however the server ends."""

from __future__ import annotations

import random

import pytest

from tests.integration.event_chaos import AT_ONCE, Chaos

EVENTS = 1000
KILLS = 3


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_accepted_event_arrives_through_kills_at_random_moments(tmp_path, record_property):
    seed = random.SystemRandom().randrange(10**6)
    tally = Chaos(tmp_path, EVENTS, KILLS, seed).run()
    record_property("chaos", f"seed {seed}: {tally}")
    assert (len(tally.accepted) >= EVENTS, tally.lost) == (True, set()), f"seed {seed}: {tally}"
    # What ran at a kill may come again, and that whose end was being written; nothing else.
    assert tally.duplicates <= KILLS * 2 * AT_ONCE, f"seed {seed}: {tally}"
