"""Coalesces the queued deliveries of an incident to those that are still needed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import attrs

from alerthost.outbox.retry_policy import ProviderState
from alerthost.outbox.serialisation import dump
from hostspec.action import AnyAction, as_durable
from hostspec.alert import Severity
from hostspec.delivery import Delivery, Operation, coalesce
from hostspec.errors import describe_error
from hostspec.plugins.planning import is_delivery

HEAD_START: Final = {
    Severity.CRITICAL: 900.0,
    Severity.ERROR: 300.0,
    Severity.WARNING: 60.0,
    Severity.INFO: 0.0,
    Severity.DEBUG: 0.0,
}
"""Seconds by which a delivery goes before earlier ones of lower severity; being finite, it lets
older deliveries overtake."""

OWN_FAILURE_DELAY: Final = HEAD_START[Severity.CRITICAL]
"""Seconds by which each failure of its own delays a delivery, so that others go first."""

REPEAT_DELAY: Final = 3600.0
"""Seconds by which a delivery goes later that repeats the last trigger unchanged. It is still sent:
it reopens an incident that was closed by hand at the provider."""


@attrs.frozen
class QueuedDelivery:
    """A delivery in the queue of its incident.

    Attributes:
        id: its row, or a negative number until it is written; None for a new one.
        coalesced: number of deliveries that it supersedes.
        accepted_at: when the oldest submission was accepted that it or they come from.
        repeat: it equals the last trigger that was delivered.
        summary: of the planned alert; empty for a delivery that was read back.
    """

    delivery: Delivery
    id: int | None = None
    coalesced: int = 0
    accepted_at: float = 0.0
    tried: bool = False
    repeat: bool = False
    summary: str = ""


@attrs.frozen
class Coalesced:
    """The queue of an incident after coalescing.

    Attributes:
        coalesced: deliveries superseded by those kept.
        discarded: deliveries not sent, since their problem was over before an attempt.
        redirected: deliveries about other incidents that replace some (a change event, say).
    """

    kept: tuple[QueuedDelivery, ...]
    coalesced: tuple[QueuedDelivery, ...] = ()
    discarded: tuple[QueuedDelivery, ...] = ()
    redirected: tuple[QueuedDelivery, ...] = ()


def coalesce_queue(
    queue: Sequence[QueuedDelivery],
    provider_state: ProviderState,
    action: AnyAction,
    *,
    in_flight: bool = False,
) -> Coalesced:
    """Coalesce the queue of an incident to the deliveries that are still needed.

    Called when a delivery is added and when an attempt has ended, for only then it is known
    whether the provider took the trigger. It is idempotent.

    Args:
        queue: the deliveries not in flight, in order.
        provider_state: what the provider may know of the incident.
        action: states whether deliveries coalesce, and handles problems that were never delivered.
        in_flight: another delivery of the incident is being sent.
    """
    lone = len(queue) == 1 and queue[0].delivery.operation is Operation.TRIGGER
    if lone or not action.capabilities.coalesce:
        return Coalesced(tuple(queue))
    if in_flight:
        return _behind_in_flight(queue, action)
    periods = _split_periods(queue)
    missed: dict[int, Sequence[Delivery]] = {}
    for number, period in enumerate(periods):
        if period.over and not (provider_state.trigger_delivered and number == 0):
            opening, closing = queue[period.opening].delivery, queue[period.closing].delivery
            missed[number] = _replacements(action, opening, closing)
    redirected = [
        _replaced(queue[periods[number].opening], each)
        for number, answer in missed.items()
        for each in answer
        if each.ref != queue[periods[number].opening].delivery.ref
    ]
    unwanted = {n for number, answer in missed.items() if not answer for n in periods[number].all}
    newest = max(
        (number for number, period in enumerate(periods) if period.opening >= 0), default=None
    )
    if newest in missed:
        kept = _keep_missed(queue, periods[newest], missed[newest], provider_state)
    else:
        kept = _keep_operations(queue, may_be_open=provider_state.needs_resolve)
    return _coalesced(queue, kept, unwanted, redirected)


@attrs.frozen
class _Period:
    """The queued deliveries of one firing period, which a resolve ends.

    Attributes:
        all: their positions in the queue.
        opening: the position of the newest trigger; -1 for none.
        closing: the position of the resolve; -1 for none.
    """

    all: range
    opening: int
    closing: int

    @property
    def over(self) -> bool:
        return self.opening >= 0 and self.closing >= 0


def _split_periods(queue: Sequence[QueuedDelivery]) -> list[_Period]:
    periods: list[_Period] = []
    start, opening = 0, -1
    for n, each in enumerate(queue):
        if each.delivery.operation is Operation.TRIGGER:
            opening = n
        elif each.delivery.operation is Operation.RESOLVE:
            periods.append(_Period(range(start, n + 1), opening, n))
            start, opening = n + 1, -1
    return [*periods, _Period(range(start, len(queue)), opening, -1)]


_Kept = Sequence[tuple[int, Delivery]]
"""The position of each kept delivery, and the delivery that is sent for it."""


def _behind_in_flight(queue: Sequence[QueuedDelivery], action: AnyAction) -> Coalesced:
    """Coalesce deliveries behind one in flight.

    The one in flight may deliver the trigger of the first firing period, so the newest trigger of
    that period is kept until the attempt has ended. All later periods begin with nothing open.
    """
    first = _split_periods(queue)[0]
    if first.closing < 0:
        return _coalesced(queue, _keep_operations(queue, may_be_open=True))
    end = first.closing + 1
    positions = [n for n in (first.opening, first.closing) if n >= 0]
    head = _coalesced(queue[:end], [(n, queue[n].delivery) for n in positions])
    tail = coalesce_queue(queue[end:], ProviderState(), action)
    return Coalesced(
        (*head.kept, *tail.kept),
        (*head.coalesced, *tail.coalesced),
        tail.discarded,
        tail.redirected,
    )


def _keep_operations(queue: Sequence[QueuedDelivery], *, may_be_open: bool) -> _Kept:
    kept = coalesce([each.delivery.operation for each in queue], may_be_open=may_be_open)
    return [(n, queue[n].delivery) for n in kept]


def _keep_missed(
    queue: Sequence[QueuedDelivery],
    period: _Period,
    replacements: Sequence[Delivery],
    provider_state: ProviderState,
) -> _Kept:
    """Return the deliveries to the same incident for a firing period that was never delivered.

    An incident that may still be open is resolved before the new trigger: otherwise the provider
    would take the trigger for a repeat and page no responder.
    """
    ref = queue[period.opening].delivery.ref
    here = {each.operation: each for each in replacements if each.ref == ref}
    closing = (period.closing, here.get(Operation.RESOLVE, queue[period.closing].delivery))
    if Operation.TRIGGER in here:
        opening = (period.opening, attrs.evolve(here[Operation.TRIGGER], over=True))
        if period.all.start > 0 and provider_state.needs_resolve:
            earlier = period.all.start - 1
            return [(earlier, queue[earlier].delivery), opening, closing]
        return [opening, closing]
    return [closing] if provider_state.needs_resolve else []


def _replacements(action: AnyAction, opening: Delivery, closing: Delivery) -> Sequence[Delivery]:
    """Call the action's `on_missed` once; if it fails, send both deliveries."""
    if opening.over:
        return (opening, closing)
    try:
        replacements = tuple(as_durable(action).on_missed(opening, closing))
        if all(map(is_delivery, replacements)):
            for each in replacements:
                dump(each)  # raises if a plugin put unstorable values into it
            return replacements
        failure = f"the action {action.name} returned a value that is not a delivery"
    except BaseException as error:  # noqa: BLE001 -- whatever a plugin raises, the engine continues
        failure = f"the action {action.name} {describe_error(error)}"
    return (attrs.evolve(opening, notes=(*opening.notes, failure)), closing)


def _coalesced(
    queue: Sequence[QueuedDelivery],
    kept: _Kept,
    unwanted: Collection[int] = (),
    redirected: Sequence[QueuedDelivery] = (),
) -> Coalesced:
    """Build the result; the newest kept trigger, or else the last one, counts all others."""
    order = [_replaced(queue[n], delivery) for n, delivery in kept]
    unchanged = {n for (n, _), each in zip(kept, order, strict=True) if each is queue[n]}
    positions = {n for n, _ in kept}
    others = [each for n, each in enumerate(queue) if n not in positions]
    if order and others:
        triggers = [
            n for n, each in enumerate(order) if each.delivery.operation is Operation.TRIGGER
        ]
        last = triggers[-1] if triggers else -1
        order[last] = attrs.evolve(
            order[last],
            coalesced=order[last].coalesced + sum(1 + each.coalesced for each in others),
            accepted_at=min(each.accepted_at for each in (order[last], *others)),
        )
    gone = [n for n in range(len(queue)) if n not in unchanged]
    return Coalesced(
        tuple(order),
        coalesced=tuple(queue[n] for n in gone if n not in unwanted),
        discarded=tuple(queue[n] for n in gone if n in unwanted),
        redirected=tuple(redirected),
    )


def _replaced(queued: QueuedDelivery, delivery: Delivery) -> QueuedDelivery:
    """Return a queued delivery with another content; it has no row yet."""
    if delivery == queued.delivery:
        return queued
    return attrs.evolve(queued, id=None, delivery=delivery, tried=False)
