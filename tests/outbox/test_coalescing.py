"""Coalescing keeps its guarantees in every short sequence of events (model checking)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from size import WHOLE

from alerthost.outbox.coalescing import Coalesced, QueuedDelivery, coalesce_queue
from alerthost.outbox.retry_policy import ProviderState
from hostspec import (
    Action,
    Capabilities,
    Delivery,
    DurableAction,
    Identity,
    IncidentRef,
    Operation,
    Severity,
)

T, A, R, U = Operation.TRIGGER, Operation.ACKNOWLEDGE, Operation.RESOLVE, Operation.UPDATE

HERE: Final = IncidentRef("pager.page", "account", "service", "key")
THERE: Final = attrs.evolve(HERE, action="pager.change")


class Pager(Action[Any, Any], DurableAction[Any]):
    """Pages, discards or records a problem that was over before a delivery."""

    name = "pager.page"

    def __init__(self, missed: str, *, coalesce: bool = True) -> None:
        self.policy = missed
        self.capabilities = Capabilities(  # type: ignore[misc]
            acknowledge=True, resolve=True, idempotent=True, coalesce=coalesce
        )

    def plan(self, *_: Any, **__: Any) -> Any:
        raise AssertionError(_)

    def send(self, *_: Any) -> Any:
        raise AssertionError(_)

    def on_missed(self, opening: Delivery, closing: Delivery) -> Sequence[Delivery]:
        match self.policy:
            case "page":
                return super().on_missed(opening, closing)
            case "change":
                return (attrs.evolve(opening, ref=THERE, operation=R),)
            case "both":
                return (*super().on_missed(opening, closing), attrs.evolve(opening, ref=THERE))
            case "open":
                return (opening,)
            case "close":
                return (attrs.evolve(closing, notes=("in other words",)),)
            case "reword":
                noted = attrs.evolve(closing, notes=("in other words",))
                return (attrs.evolve(opening, notes=("reworded",)), noted)
            case "break":
                raise RuntimeError("a secret")
            case "babble":
                return ("a secret",)  # type: ignore[return-value]
            case "garble":
                return (attrs.evolve(opening, follow_ups=("a secret",)),)  # type: ignore[arg-type]
        return ()


def says(operation: Operation, number: int = 0) -> Delivery:
    return Delivery(
        operation, HERE, Identity("", "alert"), Severity.ERROR, message={"number": number}
    )


def queued(operation: Operation, number: int, **values: Any) -> QueuedDelivery:
    values = {"id": number or 100, "accepted_at": float(number), **values}
    return QueuedDelivery(says(operation, number), **values)


def queue_of(operations: Iterable[Operation]) -> tuple[QueuedDelivery, ...]:
    return tuple(queued(operation, n) for n, operation in enumerate(operations))


def contents(line: Iterable[QueuedDelivery]) -> list[tuple[Operation, Any]]:
    return [(each.delivery.operation, each.delivery.message["number"]) for each in line]


CONFIRMING: Final = 1_000_000
"""The row of a confirming resolve, sent when no trigger can be late any more."""

EARLY: Final = CONFIRMING + 1
"""The row of a confirming resolve that is sent early, since the alert fires again."""


@attrs.frozen
class World:
    """The state of the host, the provider and the deliveries between them.

    It handles a queue as the engine does: it sends the first delivery, one at a time, coalesces
    after each attempt, and confirms the resolve after an unconfirmed attempt.

    Attributes:
        line: the queued deliveries.
        in_flight: the delivery being sent.
        provider_state: the state that the host knows.
        late: triggers that may still arrive.
        was_late: a trigger arrived late, or may.
        blurred: a late trigger arrived between the last resolve and the newest trigger, which is a
            repeat then.
        open: the submission whose content the provider holds open.
        notified: the submissions that notified a responder, and whether they were marked as over.
        recorded: the triggers that became change events.
        dropped: the discarded triggers.
        firing: the alert fires.
        episodes: the triggers of each firing period.
        count: number of submissions so far.
    """

    line: tuple[QueuedDelivery, ...] = ()
    in_flight: QueuedDelivery | None = None
    provider_state: ProviderState = attrs.field(factory=ProviderState)
    late: tuple[Delivery, ...] = ()
    was_late: bool = False
    blurred: bool = False
    open: int | None = None
    notified: tuple[tuple[int, bool], ...] = ()
    recorded: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    firing: bool = False
    episodes: tuple[tuple[int, ...], ...] = ()
    count: int = 0

    def hear(self, operation: Operation, action: Pager) -> World:
        number = self.count + 1
        world = attrs.evolve(self, count=number)
        if operation is T:
            before, last = (self.episodes[:-1], self.episodes[-1]) if self.firing else (None, ())
            episodes = (*(self.episodes if before is None else before), (*last, number))
            world = attrs.evolve(world, firing=True, episodes=episodes)
        elif operation is R:
            world = attrs.evolve(world, firing=False)
            world = world._hasten()
        new = queued(operation, number, id=None)
        in_flight = self.in_flight is not None
        return world._write(
            coalesce_queue((*world.line, new), self.provider_state, action, in_flight=in_flight),
            new,
        )

    def _hasten(self) -> World:
        line = [
            attrs.evolve(each, id=EARLY) if each.id == CONFIRMING else each for each in self.line
        ]
        return attrs.evolve(self, line=tuple(line))

    def start(self) -> World:
        return attrs.evolve(self, in_flight=self.line[0], line=self.line[1:])

    def end(self, how: str, action: Pager) -> World:
        """End the attempt: delivered, not sent, or unconfirmed (arrived, lost, or late)."""
        assert self.in_flight is not None
        delivery, delivered = self.in_flight.delivery, how == "delivered"
        world = self._arrive(delivery) if how in {"delivered", "arrived"} else self
        provider_state = self.provider_state.after(
            delivery.operation, delivered=delivered, may_have_arrived=how != "not sent"
        )
        if delivered and self.in_flight.id == CONFIRMING:
            provider_state = attrs.evolve(provider_state, unconfirmed=False)
        if how == "late":
            world = attrs.evolve(world, late=(*world.late, delivery), was_late=True)
        line = world.line if delivered else (self.in_flight, *world.line)
        world = attrs.evolve(world, in_flight=None, provider_state=provider_state, line=line)
        world = world._write(coalesce_queue(line, provider_state, action))
        if delivered and delivery.operation is R and provider_state.unconfirmed and not world.line:
            again = QueuedDelivery(says(R), id=CONFIRMING)
            world = attrs.evolve(world, line=(again,))
        return world

    def late_one(self) -> World:
        first, *rest = self.late
        ahead = (self.in_flight, *self.line) if self.in_flight else self.line
        says = (each.delivery.operation for each in ahead)
        next_one = next((each for each in says if each in (T, R)), None)
        blurred = self.blurred or (self.open is None and next_one is T)
        return attrs.evolve(self, late=tuple(rest), blurred=blurred)._arrive(first)

    @property
    def may_start(self) -> bool:
        """A confirming resolve is sent when no trigger can be late any more."""
        return bool(self.line) and not (self.late and self.line[0].id == CONFIRMING)

    def healed(self, action: Pager) -> World:
        """Deliver everything from now on."""
        world = self if self.in_flight is None else self.end("delivered", action)
        for _ in range(100):
            if not (world.line or world.late):
                return world
            sent = world.start().end("delivered", action) if world.may_start else None
            world = sent or world.late_one()
        raise AssertionError("the queue never becomes empty")

    def _arrive(self, delivery: Delivery) -> World:
        if delivery.operation is T:
            number = number_of(delivery)
            reported = () if self.open is not None else ((number, delivery.over),)
            return attrs.evolve(self, open=number, notified=(*self.notified, *reported))
        return attrs.evolve(self, open=None) if delivery.operation is R else self

    def _write(self, line: Coalesced, *new: QueuedDelivery) -> World:
        """Keep a queue; each delivery is kept, coalesced or discarded, and none twice."""
        rows = [each.id for each in (*line.kept, *line.coalesced, *line.discarded)]
        known = [each.id for each in (*self.line, *new)]
        assert sorted(row for row in rows if row) == sorted(row for row in known if row)
        free = max((row for row in known if row and row != CONFIRMING), default=0)
        kept = tuple(
            attrs.evolve(each, id=free + n) if each.id is None else each
            for n, each in enumerate(line.kept, 1)
        )
        return attrs.evolve(
            self,
            line=kept,
            recorded=self.recorded + tuple(number_of(each.delivery) for each in line.redirected),
            dropped=self.dropped + tuple(number_of(each.delivery) for each in line.discarded),
        )


def number_of(delivery: Delivery) -> int:
    number = delivery.message["number"]
    assert isinstance(number, int)
    return number


def nexts(world: World, action: Pager) -> Iterator[World]:
    """Return the worlds that may come next."""
    yield world.hear(T, action)
    if world.firing:
        yield world.hear(R, action)
        yield world.hear(A, action)
    if world.in_flight is not None:
        for how in ("delivered", "not sent", "arrived", "lost"):
            yield world.end(how, action)
        if world.in_flight.delivery.operation is T:
            yield world.end("late", action)
    elif world.may_start:
        yield world.start()
    if world.late:
        yield world.late_one()


def check(world: World, action: Pager) -> None:
    seen = (world, end := world.healed(action))
    assert len(world.line) <= 7, seen
    if world.in_flight is None:
        operations = [each.delivery.operation for each in world.line]
        assert len(operations) <= 4, seen
        assert operations.count(T) <= 1, seen
        # otherwise the host forgets it, and a late trigger stays open for ever
        forgotten = not world.line and not world.provider_state.may_be_open
        assert not (forgotten and world.provider_state.unconfirmed), seen
    # the same state in the end, and nothing stays open
    assert (end.open is not None) == world.firing, seen
    if not world.episodes:
        return
    newest, notified = world.episodes[-1], {number for number, _ in end.notified}
    if not end.blurred and (world.firing or action.policy == "page"):
        assert notified & {*newest}, (seen, "a responder was notified of the newest")
    if world.was_late:
        return
    over = world.episodes if not world.firing else world.episodes[:-1]
    more = end.notified[len(world.notified) :]
    assert end.open == (newest[-1] if world.firing else None), seen
    for number, _ in more[1:] if world.in_flight is not None else more:
        assert number in newest, (seen, "a superseded trigger notifies no responder")
    match action.policy:
        case "page":
            marked = (True, False) if world.in_flight is not None else (not world.firing,)
            assert all(over in marked for _, over in more), seen
            assert not end.dropped, seen
            assert not end.recorded, seen
        case "change":
            for each in over:
                recorded = [number for number in end.recorded if number in each]
                assert len(recorded) <= 1, (seen, "recorded once")
                assert recorded or notified & {*each}, (seen, "neither notified nor recorded")
            assert not end.dropped, seen
    if action.policy != "page" and not world.firing and world.in_flight is None:
        assert not more, (seen, "notified of a problem that was over")
    if action.policy == "drop":
        assert not end.recorded, seen


@pytest.mark.sized
@pytest.mark.parametrize("policy", ["page", "change", "drop"])
def test_short_sequences_of_events_keep_every_guarantee(policy: str) -> None:
    action = Pager(policy)
    explore(World(), action, DEPTH)


@pytest.mark.sized
@pytest.mark.parametrize("policy", ["page", "change", "drop"])
def test_short_sequences_after_a_late_trigger_keep_every_guarantee(policy: str) -> None:
    """A trigger is late, and its problem was delivered and resolved meanwhile."""
    action = Pager(policy)
    late = World().hear(T, action).start().end("late", action).start().end("delivered", action)
    explore(
        late.hear(R, action).start().end("delivered", action), action, DEPTH_AFTER_A_LATE_TRIGGER
    )


def explore(world: World, action: Pager, depth: int) -> None:
    worlds = {world}
    for _ in range(depth):
        worlds = {after for world in worlds for after in nexts(world, action)}
        for each in worlds:
            check(each, action)


DEPTH: Final = 7 if WHOLE else 5
DEPTH_AFTER_A_LATE_TRIGGER: Final = 8 if WHOLE else 6


@given(policy=st.sampled_from(["page", "change", "drop"]), data=st.data())
def test_long_sequences_of_events_keep_every_guarantee(policy: str, data: st.DataObject) -> None:
    action, world = Pager(policy), World()
    for _ in range(data.draw(st.integers(0, 60))):
        worlds = list(nexts(world, action))
        world = worlds[data.draw(st.integers(0, len(worlds) - 1))]
        check(world, action)


def test_deliveries_that_do_not_coalesce_are_sent_in_order() -> None:
    action = Pager("drop", coalesce=False)
    for operations in product((T, A, R, U), repeat=3):
        *before, new = queue_of(operations)
        line = coalesce_queue((*before, new), ProviderState(), action)
        assert line == Coalesced((*before, new))


EPISODES: Final = (
    ProviderState(),
    ProviderState(unconfirmed=True),
    ProviderState().after(T, delivered=True, may_have_arrived=True),
    ProviderState().after(T, delivered=False, may_have_arrived=True),
)


@pytest.mark.sized
@pytest.mark.parametrize(
    "policy", ["page", "change", "drop", "both", "open", "close", "reword", "break"]
)
@pytest.mark.parametrize("provider_state", EPISODES)
@pytest.mark.parametrize("in_flight", [True, False])
def test_coalescing_is_idempotent_and_redirects_nothing_twice(
    policy: str, provider_state: ProviderState, *, in_flight: bool
) -> None:
    action = Pager(policy)
    for length in range(6 if WHOLE else 5):
        for operations in product((T, A, R, U), repeat=length):
            once = coalesce_queue(queue_of(operations), provider_state, action, in_flight=in_flight)
            again = coalesce_queue(once.kept, provider_state, action, in_flight=in_flight)
            assert again == Coalesced(once.kept), operations


@pytest.mark.parametrize("policy", ["open", "reword", "break"])
def test_any_answer_of_an_action_closes_what_it_opens(policy: str) -> None:
    line = coalesce_queue(queue_of((T, R)), ProviderState(), Pager(policy))
    assert contents(line.kept) == [(T, 0), (R, 1)]
    assert line.kept[0].delivery.over


@pytest.mark.parametrize("policy", ["drop", "change", "close"])
@pytest.mark.parametrize("provider_state", EPISODES)
def test_an_incident_that_may_be_open_is_closed_without_a_notification(
    policy: str, provider_state: ProviderState
) -> None:
    line = coalesce_queue(queue_of((R, T, R)), provider_state, Pager(policy))
    doubt = provider_state.may_be_open or provider_state.unconfirmed
    assert contents(line.kept) == ([(R, 2)] if doubt else [])


@pytest.mark.parametrize(
    ("policy", "failure"),
    [
        ("break", "failed at tests/outbox/test_coalescing.py:"),
        ("garble", "returned a value that is not a delivery"),
    ],
)
def test_a_failing_on_missed_notifies_and_notes_only_the_failure(policy: str, failure: str) -> None:
    line = coalesce_queue(queue_of((T, R)), ProviderState(), Pager(policy))
    (note,) = line.kept[0].delivery.notes
    assert note.startswith(f"the action pager.page {failure}")
    assert "secret" not in note


def test_an_invalid_answer_of_an_action_notifies_and_is_noted() -> None:
    line = coalesce_queue(queue_of((T, R)), ProviderState(), Pager("babble"))
    assert contents(line.kept) == [(T, 0), (R, 1)]
    (note,) = line.kept[0].delivery.notes
    assert note == "the action pager.page returned a value that is not a delivery"


def test_a_replaced_delivery_is_a_new_row_and_the_old_one_is_coalesced() -> None:
    opening = queued(T, 1, coalesced=4, accepted_at=7.0, tried=True)
    closing = queued(R, 2)
    line = coalesce_queue((opening, closing), ProviderState(), Pager("page"))
    over = attrs.evolve(opening.delivery, over=True)
    assert line.kept == (attrs.evolve(opening, id=None, delivery=over, tried=False), closing)
    assert line.coalesced == (opening,)
    line = coalesce_queue((opening, closing), ProviderState(), Pager("reword"))
    assert [each.id for each in line.kept] == [None, None]
    assert [each.delivery.notes for each in line.kept] == [("reworded",), ("in other words",)]
    assert line.kept[1].accepted_at == 2.0
    assert line.coalesced == (opening, closing)


def test_a_redirected_record_is_a_new_row() -> None:
    opening = queued(T, 1, coalesced=4, accepted_at=7.0, tried=True)
    line = coalesce_queue((opening, queued(R, 2)), ProviderState(), Pager("change"))
    record = attrs.evolve(opening.delivery, ref=THERE, operation=R)
    assert line == Coalesced(
        (),
        coalesced=(opening, queued(R, 2)),
        redirected=(attrs.evolve(opening, id=None, delivery=record, tried=False),),
    )


def test_the_resolve_of_an_earlier_period_goes_first_if_it_may_be_open() -> None:
    """Otherwise the provider takes the trigger for a repeat and notifies no responder."""
    line = queue_of((T, R, A, T, R))
    befores = ([], [(R, 1)], [(R, 1)], [(R, 1)])
    for provider_state, before in zip(EPISODES, befores, strict=True):
        assert contents(coalesce_queue(line, provider_state, Pager("page")).kept) == [
            *before,
            (T, 3),
            (R, 4),
        ]


def test_the_newest_trigger_counts_all_superseded_deliveries() -> None:
    line = (
        queued(T, 3, coalesced=2, accepted_at=30.0),
        queued(R, 4, coalesced=1, accepted_at=20.0),
        queued(T, 5, coalesced=1, accepted_at=40.0),
        queued(A, 6, accepted_at=60.0),
    )
    (trigger, acknowledge) = coalesce_queue(line, ProviderState(), Pager("page")).kept
    assert trigger == attrs.evolve(line[2], coalesced=1 + 3 + 2, accepted_at=20.0)
    assert acknowledge == line[3]
    (trigger, resolve) = coalesce_queue(
        (*line[2:], queued(R, 7)), ProviderState(), Pager("page")
    ).kept
    assert (trigger.coalesced, trigger.accepted_at) == (2, 40.0)
    assert resolve == queued(R, 7)


def test_without_a_trigger_the_last_counts_all_superseded_deliveries() -> None:
    line = (queued(A, 1), queued(R, 2, accepted_at=9.0, coalesced=5), queued(A, 3))
    (resolve,) = coalesce_queue(line, EPISODES[2], Pager("page")).kept
    assert resolve == attrs.evolve(line[1], coalesced=7, accepted_at=1.0)


def test_discarded_deliveries_are_distinguished_from_coalesced_ones() -> None:
    line = queue_of((T, R, A, T, T, R, T, A))
    reduced = coalesce_queue(line, EPISODES[2], Pager("drop"))
    assert contents(reduced.kept) == [(R, 5), (T, 6), (A, 7)]
    # the first trigger was delivered: its repeat needs no delivery
    assert contents(reduced.coalesced) == [(T, 0), (R, 1)]
    assert contents(reduced.discarded) == [(A, 2), (T, 3), (T, 4)]
    reduced = coalesce_queue(line[:6], EPISODES[2], Pager("drop"))
    assert contents(reduced.kept) == [(R, 5)]
    assert contents(reduced.coalesced) == [(T, 0), (R, 1)]
    assert contents(reduced.discarded) == [(A, 2), (T, 3), (T, 4)]


def test_deliveries_superseded_by_a_later_period_are_coalesced() -> None:
    reduced = coalesce_queue(queue_of((T, R, T, T)), ProviderState(), Pager("drop"))
    assert contents(reduced.kept) == [(T, 3)]
    assert contents(reduced.coalesced) == [(T, 2)]
    assert contents(reduced.discarded) == [(T, 0), (R, 1)]


def test_each_superseded_period_is_recorded_once() -> None:
    line = queue_of((T, R, T, T, R, R, A, T))
    reduced = coalesce_queue(line, ProviderState(), Pager("change"))
    assert contents(reduced.kept) == [(T, 7)]
    assert contents(reduced.redirected) == [(R, 0), (R, 3)]
    reduced = coalesce_queue(line, EPISODES[2], Pager("change"))
    assert contents(reduced.kept) == [(R, 5), (T, 7)]
    assert contents(reduced.redirected) == [(R, 3)]


def test_deliveries_behind_a_trigger_in_flight_are_kept() -> None:
    action = Pager("drop")
    line = coalesce_queue(queue_of((T, A, R, T, R)), ProviderState(), action, in_flight=True)
    assert contents(line.kept) == [(T, 0), (R, 2)]
    assert contents(line.coalesced) == [(A, 1)]
    assert contents(line.discarded) == [(T, 3), (R, 4)]
    line = coalesce_queue(queue_of((T, T, R, T, R)), ProviderState(), Pager("page"), in_flight=True)
    assert contents(line.kept) == [(T, 1), (R, 2), (T, 3), (R, 4)]
    assert [each.delivery.over for each in line.kept] == [False, False, True, False]
    assert contents(line.coalesced) == [(T, 0), (T, 3)]
    line = coalesce_queue(queue_of((T, T, A)), ProviderState(), action, in_flight=True)
    assert contents(line.kept) == [(T, 1), (A, 2)]
    assert contents(line.coalesced) == [(T, 0)]
    line = coalesce_queue(queue_of((A, A)), ProviderState(), action, in_flight=True)
    assert contents(line.kept) == [(A, 1)]
    line = coalesce_queue(queue_of((R, T, R)), ProviderState(), Pager("change"), in_flight=True)
    assert contents(line.kept) == [(R, 0)]
    assert contents(line.redirected) == [(R, 1)]


def test_an_acknowledge_stays_before_the_trigger_of_an_open_incident() -> None:
    assert contents(coalesce_queue(queue_of((A, T)), EPISODES[2], Pager("page")).kept) == [
        (A, 0),
        (T, 1),
    ]
    assert contents(coalesce_queue(queue_of((A, T)), ProviderState(), Pager("page")).kept) == [
        (T, 1)
    ]


def test_a_confirming_resolve_goes_before_a_new_trigger() -> None:
    """Otherwise the provider takes the trigger for a repeat of the late one."""
    provider_state = ProviderState(unconfirmed=True)
    assert contents(coalesce_queue(queue_of((R, T)), provider_state, Pager("page")).kept) == [
        (R, 0),
        (T, 1),
    ]
    line = coalesce_queue(queue_of((R, T, R)), provider_state, Pager("page"))
    assert contents(line.kept) == [(R, 0), (T, 1), (R, 2)]
    assert contents(coalesce_queue(queue_of((R, R)), provider_state, Pager("page")).kept) == [
        (R, 1)
    ]
