"""The line: what waits for one incident, and what is left of it when one more comes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import attrs

from alerthost.outbox.retry_policy import ProviderState
from alerthost.outbox.serialisation import dump_delivery
from hostspec.action import AnyAction
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
"""Seconds by which a delivery goes before milder ones that came earlier: so nothing waits for
ever behind what is more urgent."""

STRIKE: Final = HEAD_START[Severity.CRITICAL]
"""Seconds by which a delivery goes later for each failure that was its own: others, which do get
through, do not wait while it fails again."""

REPEAT: Final = 3600.0
"""Seconds by which a repeat that changes nothing goes later than a delivery that opens, changes or
closes an incident. It is sent all the same: if the incident was closed at the provider by hand,
the repeat opens it again."""


@attrs.frozen
class QueuedDelivery:
    """A delivery in line.

    Attributes:
        delivery: what is to be sent.
        id: its row; None for one that is new.
        coalesced: how many others it stands for.
        accepted_at: when the oldest statement it stands for was accepted.
        tried: an attempt was made.
        repeat: it is the same as the last trigger that its incident's provider took.
        summary: of the alert that is to be planned; empty for a delivery that was read back.
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
    """What waits for an incident, in the order of sending.

    Attributes:
        kept: what is to be sent.
        coalesced: what others say now.
        dropped: what is not sent because its problem was over before it could be told.
        elsewhere: what is to be sent about another incident instead (a change event, say).
    """

    kept: tuple[QueuedDelivery, ...]
    coalesced: tuple[QueuedDelivery, ...] = ()
    dropped: tuple[QueuedDelivery, ...] = ()
    elsewhere: tuple[QueuedDelivery, ...] = ()


def join(
    waiting: Sequence[QueuedDelivery],
    new: QueuedDelivery,
    provider_state: ProviderState,
    action: AnyAction,
    *,
    in_flight: bool,
) -> Coalesced:
    """Put one more in line, and reduce the line; see `reduce`."""
    return reduce((*waiting, new), provider_state, action, in_flight=in_flight)


def reduce(
    line: Sequence[QueuedDelivery],
    provider_state: ProviderState,
    action: AnyAction,
    *,
    in_flight: bool = False,
) -> Coalesced:
    """Reduce a line to what still needs to be sent.

    To be done when something comes and when an attempt has ended: what is in flight decides
    whether anybody was told of the problem behind it. Reducing twice comes to the same.

    Args:
        line: what waits and is not being sent, in order.
        provider_state: what is known of the incident.
        action: says what may coalesce, and what to do about a problem nobody was told of.
        in_flight: something of the incident is being sent now.
    """
    if not action.capabilities.coalesce:
        return Coalesced(tuple(line))
    if in_flight:
        return _behind(line, action)
    parts = _parts(line)
    asked: dict[int, Sequence[Delivery]] = {}
    for number, part in enumerate(parts):
        if part.over and not (provider_state.trigger_delivered and number == 0):
            asked[number] = _ask(action, line[part.opening].delivery, line[part.closing].delivery)
    elsewhere = [
        _saying(line[parts[number].opening], each)
        for number, answer in asked.items()
        for each in answer
        if each.ref != line[parts[number].opening].delivery.ref
    ]
    unwanted = {n for number, answer in asked.items() if not answer for n in parts[number].all}
    newest = max((number for number, part in enumerate(parts) if part.opening >= 0), default=None)
    if newest in asked:
        kept = _missed(line, parts[newest], asked[newest], provider_state)
    else:
        kept = _coalesced(line, may_be_open=provider_state.needs_resolve)
    return _line(line, kept, unwanted, elsewhere)


@attrs.frozen
class _Part:
    """What waits of one episode.

    Attributes:
        all: the places in line.
        opening: the place of its newest trigger; -1 for none.
        closing: the place of its resolve, which ends it; -1 for none.
    """

    all: range
    opening: int
    closing: int

    @property
    def over(self) -> bool:
        return self.opening >= 0 and self.closing >= 0


def _parts(line: Sequence[QueuedDelivery]) -> list[_Part]:
    parts: list[_Part] = []
    start, opening = 0, -1
    for n, each in enumerate(line):
        if each.delivery.operation is Operation.TRIGGER:
            opening = n
        elif each.delivery.operation is Operation.RESOLVE:
            parts.append(_Part(range(start, n + 1), opening, n))
            start, opening = n + 1, -1
    return [*parts, _Part(range(start, len(line)), opening, -1)]


_Kept = Sequence[tuple[int, Delivery]]
"""What is to be sent, in order: what it comes from, and what it says now."""


def _behind(line: Sequence[QueuedDelivery], action: AnyAction) -> Coalesced:
    """Reduce what waits behind something in flight.

    What is in flight may be what tells somebody of the episode that is ended first: that one's
    newest trigger is given up when this is known. Whatever comes after begins at nothing.
    """
    first = _parts(line)[0]
    if first.closing < 0:
        return _line(line, _coalesced(line, may_be_open=True))
    end = first.closing + 1
    refs = [n for n in (first.opening, first.closing) if n >= 0]
    head = _line(line[:end], [(n, line[n].delivery) for n in refs])
    tail = reduce(line[end:], ProviderState(), action)
    return Coalesced(
        (*head.kept, *tail.kept),
        (*head.coalesced, *tail.coalesced),
        tail.dropped,
        tail.elsewhere,
    )


def _coalesced(line: Sequence[QueuedDelivery], *, may_be_open: bool) -> _Kept:
    kept = coalesce([each.delivery.operation for each in line], may_be_open=may_be_open)
    return [(n, line[n].delivery) for n in kept]


def _missed(
    line: Sequence[QueuedDelivery],
    part: _Part,
    asked: Sequence[Delivery],
    provider_state: ProviderState,
) -> _Kept:
    """Return what is sent at the same place for an episode that began and ended untold.

    What it opens is closed, and so is what may be open already: before it opens, too, so that
    somebody is notified.
    """
    ref = line[part.opening].delivery.ref
    here = {each.operation: each for each in asked if each.ref == ref}
    closing = (part.closing, here.get(Operation.RESOLVE, line[part.closing].delivery))
    if Operation.TRIGGER in here:
        opening = (part.opening, attrs.evolve(here[Operation.TRIGGER], over=True))
        if part.all.start > 0 and provider_state.needs_resolve:
            earlier = part.all.start - 1
            return [(earlier, line[earlier].delivery), opening, closing]
        return [opening, closing]
    return [closing] if provider_state.needs_resolve else []


def _ask(action: AnyAction, opening: Delivery, closing: Delivery) -> Sequence[Delivery]:
    """Ask the action, once; where it fails, somebody is notified."""
    if opening.over:
        return (opening, closing)
    try:
        asked = tuple(action.on_missed(opening, closing))
        if all(map(is_delivery, asked)):
            for each in asked:
                dump_delivery(each)  # which has to be possible
            return asked
        failure = f"the action {action.name} answered what is no delivery"
    except Exception as error:  # noqa: BLE001 -- whatever a plugin does, the engine goes on
        failure = f"the action {action.name} {describe_error(error)}"
    return (attrs.evolve(opening, notes=(*opening.notes, failure)), closing)


def _line(
    line: Sequence[QueuedDelivery],
    kept: _Kept,
    unwanted: Collection[int] = (),
    elsewhere: Sequence[QueuedDelivery] = (),
) -> Coalesced:
    """Keep some, of which the newest trigger, or else the last, speaks for all the others."""
    order = [_saying(line[n], delivery) for n, delivery in kept]
    refs = {n for n, _ in kept}
    others = [each for n, each in enumerate(line) if n not in refs]
    if order and others:
        triggers = [
            n for n, each in enumerate(order) if each.delivery.operation is Operation.TRIGGER
        ]
        speaker = triggers[-1] if triggers else -1
        order[speaker] = attrs.evolve(
            order[speaker],
            coalesced=order[speaker].coalesced + sum(1 + each.coalesced for each in others),
            accepted_at=min(each.accepted_at for each in (order[speaker], *others)),
        )
    stays = {n for n, delivery in kept if delivery == line[n].delivery}
    gone = [n for n in range(len(line)) if n not in stays]
    return Coalesced(
        tuple(order),
        coalesced=tuple(line[n] for n in gone if n not in unwanted),
        dropped=tuple(line[n] for n in gone if n in unwanted),
        elsewhere=tuple(elsewhere),
    )


def _saying(waiting: QueuedDelivery, delivery: Delivery) -> QueuedDelivery:
    """Return one that says something else: it has no row yet."""
    if delivery == waiting.delivery:
        return waiting
    return attrs.evolve(waiting, id=None, delivery=delivery, tried=False)
