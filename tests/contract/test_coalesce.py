"""Coalescing is checked for every short sequence against a small model of the provider."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import attrs
import pytest

from hostspec import Operation
from hostspec.delivery import coalesce

T, A, R, U = Operation.TRIGGER, Operation.ACKNOWLEDGE, Operation.RESOLVE, Operation.UPDATE

OLD = -1
"""The content of an incident that was open before."""


@attrs.define
class Provider:
    """One incident at a provider, after https://developer.pagerduty.com/docs/events-api-v2/.

    A closed incident takes a trigger only: PagerDuty answers 202 to anything else, and drops it.
    """

    state: str = "closed"
    content: int | None = None
    opened_by: list[int] = attrs.field(factory=list)
    """The messages that opened an episode: each notified the responder."""

    def take(self, operation: Operation, message: int) -> None:
        if operation is Operation.TRIGGER:
            if self.state == "closed":
                self.state = "triggered"
                self.opened_by.append(message)
            self.content = message
        elif self.state == "closed":
            return
        elif operation is Operation.ACKNOWLEDGE:
            self.state = "acknowledged"
        elif operation is Operation.UPDATE:
            self.content = message
        else:
            self.state, self.content = "closed", None


STARTS: dict[str, Callable[[], Provider]] = {
    "closed": Provider,
    "triggered": lambda: Provider("triggered", OLD),
    "acknowledged": lambda: Provider("acknowledged", OLD),
}


def sequences(alphabet: Sequence[Operation], longest: int) -> Iterator[tuple[Operation, ...]]:
    for length in range(longest + 1):
        yield from product(alphabet, repeat=length)


def after(start: str, queued: Sequence[Operation], messages: Sequence[int]) -> Provider:
    provider = STARTS[start]()
    for message in messages:
        provider.take(queued[message], message)
    return provider


def check(queued: tuple[Operation, ...], start: str, *, may_be_open: bool) -> None:
    everything = after(start, queued, range(len(queued)))
    kept = coalesce(queued, may_be_open=may_be_open)
    sent = after(start, queued, kept)
    seen = (queued, start, may_be_open, kept)

    assert (sent.state, sent.content) == (everything.state, everything.content), seen

    # the latest episode, if anything after the last resolve opens one, is notified once
    since = max((n for n, operation in enumerate(queued) if operation is R), default=-1)
    latest = [message for message in everything.opened_by if message > since]
    assert len([message for message in sent.opened_by if message > since]) == len(latest), seen
    assert len(sent.opened_by) == len(latest), "an episode that has ended notifies no one"


def check_shape(queued: tuple[Operation, ...], *, may_be_open: bool) -> None:
    kept = coalesce(queued, may_be_open=may_be_open)
    operations = [queued[index] for index in kept]
    assert len(set(kept)) == len(kept)
    assert len(set(operations)) == len(operations), "one of a kind"
    assert len(kept) <= (4 if U in queued else 3)
    assert len(kept) <= len(queued)
    # the newest of its kind, always
    for index, operation in zip(kept, operations, strict=True):
        assert operation not in queued[index + 1 :]
    # a resolve first; an acknowledge before the trigger only where it came before them all
    if R in operations:
        assert operations[0] is R
        assert may_be_open
    if T in operations and A in operations:
        after_last_resolve = len(queued) - queued[::-1].index(R) if R in queued else 0
        first_trigger = queued.index(T, after_last_resolve)
        came_first = kept[operations.index(A)] < first_trigger
        assert (operations.index(A) < operations.index(T)) == came_first
    # coalescing the result again changes nothing
    again = coalesce(operations, may_be_open=may_be_open)
    assert again == tuple(range(len(operations)))


@pytest.mark.parametrize("start", STARTS)
def test_effect_is_the_same_if_the_incident_may_be_open(start: str) -> None:
    for queued in sequences((T, A, R), 7):
        check(queued, start, may_be_open=True)
    for queued in sequences((T, A, R, U), 6):
        check(queued, start, may_be_open=True)


def test_effect_is_the_same_if_the_incident_is_closed() -> None:
    for queued in sequences((T, A, R), 7):
        check(queued, "closed", may_be_open=False)
    for queued in sequences((T, A, R, U), 6):
        check(queued, "closed", may_be_open=False)


@pytest.mark.parametrize("may_be_open", [True, False])
def test_result_is_short_ordered_and_stable(*, may_be_open: bool) -> None:
    for queued in sequences((T, A, R), 7):
        check_shape(queued, may_be_open=may_be_open)
    for queued in sequences((T, A, R, U), 6):
        check_shape(queued, may_be_open=may_be_open)


@pytest.mark.parametrize(
    ("queued", "may_be_open", "kept"),
    [
        ((), True, ()),
        ((T, T, T), False, (2,)),
        ((T, A, R), False, ()),
        ((T, A, R), True, (2,)),
        ((T, R, T, A, T), True, (1, 4, 3)),
        ((T, R, T, A, T), False, (4, 3)),
        ((A,), True, (0,)),
        ((A,), False, ()),
        ((R, A, T), True, (0, 2)),
        ((T, U), False, (0, 1)),
        ((U, T), True, (1,)),
        ((U, A, U), True, (1, 2)),
        ((U,), False, ()),
        ((R, U), True, (0,)),
    ],
)
def test_examples(
    queued: tuple[Operation, ...], *, may_be_open: bool, kept: tuple[int, ...]
) -> None:
    assert coalesce(queued, may_be_open=may_be_open) == kept


def test_early_acknowledge_is_sent_before_the_trigger() -> None:
    """This is right whether the incident is open (and acknowledged) or closed.

    Sent after the trigger, it would silence a new episode.
    """
    queued = (A, T)
    kept = coalesce(queued, may_be_open=True)
    assert kept == (0, 1)
    assert after("triggered", queued, kept).state == "acknowledged"
    assert after("closed", queued, kept).state == "triggered"
