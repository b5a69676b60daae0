"""The sliding window is checked against every message that was taken, one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerthost.outbox.rate_limit import FURTHEST, RateLimit
from hostspec.action import Limit

NOW = 1_000_000.0
COUNTS = st.one_of(st.integers(1, 12), st.integers(1, 10_000))

USUAL = RateLimit(Limit("key", 120, 60.0))
WINDOWS = st.sampled_from([0.001, 0.05, 1.0, 2.5, 60.0, 3600.0])


def limited(count: int, window: float = 60.0) -> RateLimit:
    return RateLimit(Limit("key", count, window))


def full(
    *, count: int = 120, window: float = 60.0, urgent: bool = True, now: float = NOW
) -> tuple[RateLimit, int]:
    """Take messages until none is free at this moment."""
    budget, taken = limited(count, window), 0
    while budget.free_at(now, urgent=urgent) <= now:
        budget = budget.take(now, urgent=urgent)
        taken += 1
        assert taken <= count
    return budget, taken


def most_in_a_window(moments: Sequence[float], window: float) -> int:
    exact = sorted(map(Fraction, moments))
    return max(
        (sum(first <= each < first + Fraction(window) for each in exact) for first in exact),
        default=0,
    )


@pytest.mark.parametrize(
    ("count", "usable", "ordinary"),
    [
        (1, 1, 1),
        (2, 1, 1),
        (3, 2, 1),
        (8, 7, 5),
        (20, 19, 16),
        (120, 114, 96),
        (10_000, 9_500, 8_075),
    ],
)
def test_a_margin_is_kept_and_a_share_reserved_for_urgent_messages(
    count: int, usable: int, ordinary: int
) -> None:
    assert full(count=count, window=60.0)[1] == usable
    assert full(count=count, window=60.0, urgent=False)[1] == ordinary


def test_an_empty_budget_is_free_now() -> None:
    assert USUAL.free_at(NOW, urgent=False) == NOW


def test_the_reserved_share_is_left_when_the_rest_is_used() -> None:
    budget, ordinary = full(count=120, window=60.0, urgent=False)
    for _ in range(114 - ordinary):
        assert budget.free_at(NOW, urgent=True) == NOW
        budget = budget.take(NOW, urgent=True)
    assert budget.free_at(NOW, urgent=True) > NOW


def test_urgent_messages_leave_the_ordinary_share() -> None:
    """Urgent messages may use the rest of the ordinary share, and do not count towards it."""
    budget = USUAL
    for _ in range(113):
        budget = budget.take(NOW, urgent=True)
    assert budget.free_at(NOW, urgent=False) == NOW
    budget = budget.take(NOW, urgent=False)
    assert budget.free_at(NOW, urgent=False) > NOW
    assert budget.free_at(NOW, urgent=True) > NOW


@given(now=st.floats(0, 1e9), window=WINDOWS, urgent=st.booleans())
def test_a_full_budget_is_free_one_window_later(*, now: float, window: float, urgent: bool) -> None:
    budget, _ = full(count=120, window=window, urgent=urgent, now=now)
    free = budget.free_at(now, urgent=urgent)
    # to the clock's own precision, which is coarse a thousand years after its beginning
    assert now + window <= free <= now + window + max(window / 100, 0.001) + 1e-6
    assert budget.free_at(free, urgent=urgent) == free


def test_a_lowered_limit_is_free_when_enough_messages_left() -> None:
    budget = USUAL
    for second in range(4):
        budget = budget.take(NOW + second, urgent=True)
    # the limit was lowered meanwhile: two of the four have to leave before one more may go
    budget = attrs.evolve(budget, limit=Limit("key", 4, 60.0))
    assert budget.free_at(NOW + 10, urgent=True) == pytest.approx(NOW + 1 + 60, abs=0.6)


@given(
    count=COUNTS,
    window=WINDOWS,
    steps=st.lists(
        st.tuples(st.floats(0, 1.2), st.booleans(), st.floats(-1, 1)), min_size=1, max_size=150
    ),
)
def test_no_window_holds_more_than_the_limit(
    count: int, window: float, steps: Sequence[tuple[float, bool, float]]
) -> None:
    """At any pace, even if the clock goes back by up to a window after a message."""
    budget, real, behind, left = limited(count, window), 0.0, -10_000.0, window
    taken: list[float] = []
    others: list[float] = []
    for pause, urgent, back in steps:
        real += pause * window / 3
        step = min(left, max(0.0, back - 0.9) * 10 * window)  # one in twenty
        behind, left = behind + step, left - step
        now = real - behind
        if budget.free_at(now, urgent=urgent) <= now:
            budget = budget.take(now, urgent=urgent)
            taken.append(real)
            left = window
            others += [] if urgent else [real]
    usable = max(1, count * 95 // 100)
    assert most_in_a_window(taken, window * (1 - 1e-6)) <= usable <= count
    assert most_in_a_window(others, window * (1 - 1e-6)) <= max(1, usable * 85 // 100)


@pytest.mark.parametrize(("count", "window"), [(120, 60.0), (600, 60.0), (1, 1.0), (7, 0.5)])
@pytest.mark.parametrize("urgent", [True, False])
def test_under_load_nearly_the_whole_limit_is_used(
    count: int, window: float, *, urgent: bool
) -> None:
    budget, now, taken = limited(count, window), NOW, 0
    while now < NOW + 20 * window:
        now = budget.free_at(now, urgent=urgent)
        budget = budget.take(now, urgent=urgent)
        taken += 1
        assert taken <= 21 * count
    usable = max(1, count * 95 // 100)
    most = usable if urgent else max(1, usable * 85 // 100)
    assert taken >= 0.95 * 20 * most


@given(back=st.floats(0, 1e7), count=st.integers(1, 200))
def test_a_clock_reset_costs_at_most_two_windows(back: float, count: int) -> None:
    budget, _ = full(count=count, window=60.0, now=2e7)
    budget = budget.pause(2e7 + 300)
    began = now = 2e7 - back
    for _ in range(3):
        now = budget.free_at(now, urgent=True)
    assert now <= began + max(121.0, FURTHEST)
    if back > FURTHEST:
        assert now == began


@pytest.mark.parametrize("seconds", [1, 30, 60])
def test_messages_in_the_future_count_as_sent_now(seconds: int) -> None:
    budget = USUAL
    for number in reversed(range(114)):
        budget = budget.take(NOW - number / 120, urgent=True)
    back = NOW - seconds
    assert budget.free_at(back, urgent=True) >= back + 60
    budget = budget.take(back, urgent=True)
    assert sum(sum(sent) for sent in budget.used.values()) == 115
    assert len(budget.used) == 1


def test_a_pause_delays_every_message() -> None:
    budget = USUAL.pause(NOW + 30).pause(NOW + 10)
    for urgent in (True, False):
        assert budget.free_at(NOW, urgent=urgent) == NOW + 30
        assert budget.free_at(NOW + 30, urgent=urgent) == NOW + 30
        assert budget.free_at(NOW + 31, urgent=urgent) == NOW + 31


def test_a_pause_survives_a_message() -> None:
    budget = USUAL.pause(NOW + FURTHEST).take(NOW, urgent=True)
    assert budget.paused_until == NOW + FURTHEST


def test_spans_outside_the_window_are_dropped() -> None:
    sent = USUAL.take(NOW, urgent=True)
    assert sent.used == {1_000_000_200: (1, 0)}
    later = sent.take(1_000_060.2, urgent=False)
    assert later.used == {1_000_060_800: (0, 1)}


def test_a_pause_in_the_far_future_is_ignored() -> None:
    budget = USUAL.pause(FURTHEST + 0.1)
    assert budget.free_at(0.0, urgent=True) == 0.0


def test_an_ignored_pause_does_not_hide_a_later_one() -> None:
    budget = USUAL.pause(NOW + FURTHEST + 0.1)
    assert budget.free_at(NOW, urgent=True) == NOW
    budget = budget.take(NOW, urgent=True).pause(NOW + 5)
    assert budget.free_at(NOW, urgent=True) == NOW + 5


def test_the_size_of_a_budget_is_bounded() -> None:
    budget = USUAL
    for number in range(3_000):
        budget = budget.take(NOW + number / 25, urgent=number % 2 == 0)
    assert len(budget.used) <= 102
    assert sum(sum(sent) for sent in budget.used.values()) == pytest.approx(1_500, abs=30)


def test_a_budget_survives_json() -> None:
    budget, _ = full(count=120, window=60.0)
    used = {int(end): sent for end, sent in json.loads(json.dumps(dict(budget.used))).items()}
    again = attrs.evolve(budget, used=used)
    for urgent in (True, False):
        free = budget.free_at(NOW, urgent=urgent)
        assert again.free_at(NOW, urgent=urgent) == free
    for each in (budget, again):
        assert each.take(NOW, urgent=False).used == {1_000_000_200: (114, 1)}


@given(
    messages=st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.0, 0.0, 0.4, 30.0]),
            st.sampled_from([0.0, 0.1, 5.0, 25.0]),
            st.sampled_from([0.0, 0.1, 5.0, 25.0]),
            st.booleans(),
        ),
        min_size=20,
        max_size=80,
    ),
    count=st.sampled_from([5, 10, 20]),
)
def test_slow_messages_never_exceed_the_limit_on_arrival(
    messages: Sequence[tuple[float, float, float, bool]], count: int
) -> None:
    budget, now = limited(count), NOW
    arrivals: list[float] = []
    flying: list[tuple[float, float, bool]] = []
    for wait, there, back, urgent in messages:
        now += wait
        while True:
            free = budget.free_at(now, urgent=urgent)
            landed = min(flying, default=(free + 1, 0.0, False))
            if landed[0] > free:
                break
            flying.remove(landed)
            now = max(now, landed[0])
            budget = budget.land(landed[1], landed[0], urgent=landed[2])
        now = free
        budget = budget.take(now, urgent=urgent)
        arrivals.append(now + there)
        flying.append((now + there + back, now, urgent))
    assert most_in_a_window(arrivals, 60.0) <= count


@pytest.mark.parametrize("urgent", [True, False])
def test_a_slow_message_counts_from_its_answer(*, urgent: bool) -> None:
    one, none = ((1, 0), (0, 0)) if urgent else ((0, 1), (0, 0))
    sent = USUAL.take(NOW, urgent=urgent)
    assert sent.used == {1_000_000_200: one}
    assert sent.land(NOW, NOW + 0.1, urgent=urgent) is sent
    assert sent.land(NOW, NOW - 5, urgent=urgent) == sent
    assert sent.land(NOW - 5, NOW, urgent=urgent) == sent
    paused = sent.pause(NOW + 90).land(NOW, NOW + 20, urgent=urgent)
    assert paused == RateLimit(USUAL.limit, {1_000_000_200: none, 1_000_020_600: one}, NOW + 90)


@pytest.mark.parametrize("urgent", [True, False])
def test_a_message_that_is_not_sent_is_not_counted(*, urgent: bool) -> None:
    budget = RateLimit(Limit("key", 2, 60.0))
    taken = budget.take(NOW, urgent=urgent)
    assert taken.free_at(NOW, urgent=urgent) > NOW
    assert taken.give_back(NOW, urgent=urgent).free_at(NOW, urgent=urgent) == NOW
    assert taken.give_back(NOW - 5, urgent=urgent) is taken
