"""Whose turn it is: windows, pauses and the order of queues."""

from __future__ import annotations

import itertools

import pytest

from samovar.events.turns import FIRST_WINDOW, LONGEST_PAUSE_S, SENT_AT_ONCE, Turns

NOW = 1000.0


def turns(bound=64, at_once=1000):
    return Turns(lambda queue: bound, at_once)


def taking(made, now=NOW):
    """All turns that there are now."""
    return list(iter(lambda: made.next(now), None))


def test_who_has_nothing_due_has_no_turn():
    made = turns()
    made.waiting("later", NOW + 1)
    assert taking(made) == []
    assert made.next_at() == NOW + 1
    assert taking(made, NOW + 1) == [("later", FIRST_WINDOW)]
    assert made.next_at() is None


def test_a_turn_ends_until_more_is_known_to_be_due():
    made = turns()
    made.waiting("q", NOW)
    assert taking(made) == [("q", FIRST_WINDOW)]
    made.took("q", FIRST_WINDOW, 2, NOW)
    assert made.under_way == 2
    assert taking(made) == [("q", FIRST_WINDOW - 2)]


def test_what_comes_while_a_queue_is_taken_from_is_not_forgotten():
    made = turns()
    made.waiting("q", NOW)
    taking(made)
    made.waiting("q", NOW + 1)
    made.took("q", FIRST_WINDOW, FIRST_WINDOW, NOW + 2)
    made.done("q")
    assert made.next_at() == NOW + 1


def test_queues_take_turns_whatever_has_been_due_longest():
    made = turns(at_once=1)
    for queue, due_at in (("old", NOW - 100), ("new", NOW), ("middle", NOW - 50)):
        made.waiting(queue, due_at)
    order = []
    for _ in range(6):
        queue, number = made.next(NOW)
        assert number == 1
        made.took(queue, 1, 1, NOW - 100)
        made.done(queue)
        order.append(queue)
    assert order == ["old", "middle", "new"] * 2


def test_all_together_are_bounded_and_the_last_fourth_is_for_those_that_have_none():
    made = turns(at_once=16)
    for queue in "abcdefg":
        made.waiting(queue, NOW)
    assert taking(made) == [("a", 8), ("b", 4), ("c", 1), ("d", 1), ("e", 1), ("f", 1)]
    assert made.next_at() is None
    made.took("a", 8, 8, NOW)
    made.done("a")
    assert taking(made) == [("g", 1)]


def test_who_waited_for_the_room_of_others_has_a_turn_when_there_is_some():
    made = turns(at_once=16)
    for queue in "ab":
        made.waiting(queue, NOW)
    assert taking(made) == [("a", 8), ("b", 4)]
    made.took("b", 4, 4, NOW)
    assert taking(made) == []
    for _ in range(8):
        made.done("a")
    assert taking(made) == [("b", 4)]


def test_a_window_grows_with_what_begins_up_to_the_bound_of_the_queue():
    made = turns(bound=10)
    for _ in range(5):
        made.begun("q", made.epoch("q"))
    made.waiting("q", NOW)
    assert taking(made) == [("q", 10)]


def test_a_bound_that_falls_is_kept_to():
    bounds = {"q": 64}
    made = Turns(bounds.__getitem__, 1000)
    made.waiting("q", NOW)
    taking(made)
    made.took("q", FIRST_WINDOW, 4, NOW)
    bounds["q"] = 4
    assert taking(made) == []


def throttled_once(made, now=NOW):
    made.throttled("q", made.epoch("q"), now)


def test_a_throttle_makes_a_pause_and_then_a_probe():
    made = turns()
    made.waiting("q", NOW)
    throttled_once(made)
    assert taking(made) == []
    assert made.next_at() == NOW + 1
    assert taking(made, NOW + 1) == [("q", 1)]


def test_pauses_double_up_to_the_longest():
    made = turns()
    made.waiting("q", NOW)
    now = NOW
    for pause_s in (1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S):
        throttled_once(made, now)
        assert taking(made, now) == []
        assert made.next_at() == now + pause_s
        now += pause_s


def test_throttles_of_what_was_under_way_before_tell_nothing_new():
    made = turns()
    made.waiting("q", NOW)
    epoch = made.epoch("q")
    for _ in range(8):
        made.throttled("q", epoch, NOW)
    made.begun("q", epoch)
    assert taking(made) == []
    assert made.next_at() == NOW + 1
    assert taking(made, NOW + 1) == [("q", 1)]


def test_a_probe_that_begins_ends_the_throttle():
    made = turns()
    throttled_once(made)
    made.begun("q", made.epoch("q"))
    made.waiting("q", NOW)
    assert taking(made, NOW + 1) == [("q", 2)]
    throttled_once(made, NOW + 1)
    made.took("q", 2, 0, NOW)
    assert made.next_at() == NOW + 2


@pytest.mark.parametrize(
    ("why", "before"),
    [
        ("others wait before it", lambda made: made.waiting("q", NOW)),
        ("its queue pauses", throttled_once),
        ("its queue is full", lambda made: [made.claim("q", NOW, NOW) for _ in range(8)]),
    ],
)
def test_a_new_event_begins_at_once_unless(why, before):
    made = turns()
    before(made)
    assert not made.claim("q", NOW, NOW)
    assert made.claim("another", NOW, NOW)


def test_a_new_event_begins_at_once_unless_it_is_due_later():
    assert not turns().claim("q", NOW + 1, NOW)


def test_of_queues_that_are_empty_nothing_is_kept():
    made = turns()
    for number in range(100):
        assert made.claim(f"q{number}", NOW, NOW)
        made.done(f"q{number}")
    assert made._queues == {}


def test_a_queue_that_was_full_has_its_turn_when_one_of_its_is_done():
    made = turns()
    throttled_once(made)
    made.waiting("q", NOW)
    assert taking(made, NOW + 1) == [("q", 1)]
    made.took("q", 1, 1, NOW)
    assert taking(made, NOW + 1) == []
    made.begun("q", made.epoch("q"))
    made.done("q")
    assert taking(made, NOW + 1) == [("q", 2)]


def test_what_is_remembered_does_not_grow_with_what_has_happened():
    made = turns()
    made.waiting("q", NOW + 3600)
    for number in range(10_000):
        made.waiting("q", NOW)
        ((_, asked),) = taking(made)
        made.took("q", asked, 1, NOW + 3600)
        made.done("q")
        made.waiting(f"q{number % 10}", NOW + 7200)
    assert len(made._later) < 200


def test_turns_cost_no_more_where_many_queues_wait_for_later():
    made = turns()
    looked = 0

    class Counted(dict):
        def get(self, *key):
            nonlocal looked
            looked += 1
            return super().get(*key)

    made._queues = Counted()
    for number in range(5_000):
        made.waiting(f"later{number}", NOW + 3600)
    looked = 0
    for _ in range(100):
        made.waiting("q", NOW)
        ((queue, asked),) = taking(made)
        made.took(queue, asked, 1, None)
        made.done(queue)
    assert looked < 5_000


def test_those_that_have_most_shrink_where_others_wait():
    made = turns(at_once=64)
    for queue in ("a", "b", "c"):
        for _ in range(20):
            made.begun(queue, made.epoch(queue))
        made.waiting(queue, NOW)
    for queue, number in taking(made):
        made.took(queue, number, number, NOW)
    assert under_way_of(made) == {"a": 28, "b": 20, "c": 1}
    for _ in range(20):
        made.done("a")
        for queue, number in taking(made):
            made.took(queue, number, number, NOW)
    assert under_way_of(made) == {"a": 12, "b": 20, "c": 16}


def under_way_of(made):
    return {queue: known.under_way for queue, known in made._queues.items()}


def test_what_is_sent_is_counted_apart():
    made = turns(at_once=8)
    made.waiting("q", NOW)
    ((queue, number),) = taking(made)
    made.took(queue, number, number, NOW)
    assert taking(made) == []
    made.sends("q")
    assert taking(made) == [("q", 1)]
    assert made.under_way == number + 1
    made.sent("q")
    assert made.under_way == number


@pytest.mark.parametrize(("at_once", "most"), [(1000, SENT_AT_ONCE), (16, 16)])
def test_a_queue_that_has_much_to_send_waits_till_some_is_sent_and_others_do_not(at_once, most):
    made = turns(at_once=at_once)
    for _ in range(most):
        assert made.claim("q", NOW, NOW)
        made.sends("q")
    made.waiting("q", NOW)
    assert taking(made) == []
    assert made.claim("other", NOW, NOW)
    made.sent("q")
    assert taking(made) == [("q", FIRST_WINDOW)]


def test_a_clock_that_is_set_back_ends_pauses():
    made = turns()
    made.waiting("q", NOW - 3600)
    throttled_once(made)
    assert taking(made) == []
    assert taking(made, NOW - 3600) == [("q", 1)]
    throttled_once(made, NOW)
    assert not made.claim("q", NOW, NOW)
    made.took("q", 1, 0, None)
    assert made.claim("q", NOW - 3600, NOW - 3600)


def test_of_a_queue_that_was_throttled_and_is_empty_nothing_is_kept_after_its_pause():
    made = turns()
    assert made.claim("q", NOW, NOW)
    throttled_once(made)
    made.done("q")
    assert not made.claim("q", NOW, NOW)
    assert made.next_at() == NOW + 1
    assert taking(made, NOW + 1) == []
    assert made._queues == {}


def test_counts_come_out_even_whatever_happens():
    made = turns(bound=5, at_once=9)
    for now in itertools.islice(itertools.count(NOW), 50):
        for queue in "abcd":
            made.waiting(queue, now)
        for queue, number in taking(made, now):
            assert 0 < number <= 5
            made.took(queue, number, number // 2, now)
        assert 0 <= made.under_way <= 9
        for queue in "abcd":
            while made._queues.get(queue) and made._queues[queue].under_way:
                made.done(queue)
        assert made.under_way == 0
