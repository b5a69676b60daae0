"""The line: what waits for one incident, and what is left of it when one more comes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from hostspec.action import AnyAction
from hostspec.collapse import collapse
from hostspec.delivery.verdict import Episode
from hostspec.incident import Delivery, Operation
from hostspec.kernel.calling import told
from hostspec.parts import Severity

HEAD_START: Final = {
    Severity.CRITICAL: 900.0,
    Severity.ERROR: 300.0,
    Severity.WARNING: 60.0,
    Severity.INFO: 0.0,
    Severity.DEBUG: 0.0,
}
"""Seconds by which a delivery goes before milder ones that came earlier: so nothing waits for
ever behind what is more urgent."""


@attrs.frozen
class Waiting:
    """A delivery in line.

    Attributes:
        delivery: what is to be sent.
        id: its row; None for one that is new.
        collapsed: how many others it stands for.
        accepted_at: when the oldest statement it stands for was accepted.
        tried: an attempt was made.
    """

    delivery: Delivery
    id: int | None = None
    collapsed: int = 0
    accepted_at: float = 0.0
    tried: bool = False


@attrs.frozen
class Line:
    """What waits for an incident, in the order of sending.

    Attributes:
        kept: what is to be sent.
        collapsed: what others say now.
        dropped: what is not sent because its problem was over before it could be told.
        elsewhere: what is to be sent about another incident instead (a change event, say).
    """

    kept: tuple[Waiting, ...]
    collapsed: tuple[Waiting, ...] = ()
    dropped: tuple[Waiting, ...] = ()
    elsewhere: tuple[Waiting, ...] = ()


def join(
    waiting: Sequence[Waiting], new: Waiting, episode: Episode, action: AnyAction, *, flying: bool
) -> Line:
    """Put one more in line, and reduce the line; see `reduce`."""
    return reduce((*waiting, new), episode, action, flying=flying)


def reduce(
    line: Sequence[Waiting], episode: Episode, action: AnyAction, *, flying: bool = False
) -> Line:
    """Reduce a line to what still needs to be sent.

    To be done when something comes and when an attempt has ended: what is in flight decides
    whether anybody was told of the problem behind it. Reducing twice comes to the same.

    Args:
        line: what waits and is not being sent, in order.
        episode: what is known of the incident.
        action: says what may collapse, and what to do about a problem nobody was told of.
        flying: something of the incident is being sent now.
    """
    if not action.capabilities.collapse:
        return Line(tuple(line))
    opening = _last(line, Operation.TRIGGER)
    closing = _first(line, Operation.RESOLVE, opening)
    if opening is None or closing is None:
        # what is in doubt may open the incident late; the resolve of a new episode closes it
        doubt = episode.in_doubt and opening is None
        may_be_open = episode.may_be_open or doubt or flying
        return _spoken(line, _collapse(line, may_be_open=may_be_open))
    if flying:
        return _spoken(line, (*_collapse(line[:closing], may_be_open=True), closing))
    earlier = _last(line[:opening], Operation.RESOLVE)
    if episode.told and earlier is None:
        return _spoken(line, (closing,))
    return _missed(line, earlier, opening, closing, episode, action)


def _last(line: Sequence[Waiting], wanted: Operation) -> int | None:
    found = [n for n, each in enumerate(line) if each.delivery.operation is wanted]
    return found[-1] if found else None


def _first(line: Sequence[Waiting], wanted: Operation, after: int | None) -> int | None:
    found = (n for n, each in enumerate(line) if each.delivery.operation is wanted)
    return next((n for n in found if after is not None and n > after), None)


def _collapse(line: Sequence[Waiting], *, may_be_open: bool) -> tuple[int, ...]:
    return collapse([each.delivery.operation for each in line], may_be_open=may_be_open)


def _spoken(line: Sequence[Waiting], kept: Sequence[int]) -> Line:
    """Keep some, of which the newest trigger, or else the last, speaks for all the others."""
    left = tuple(each for n, each in enumerate(line) if n not in kept)
    order = [line[n] for n in kept]
    if order:
        operations = [each.delivery.operation for each in order]
        triggers = [n for n, each in enumerate(operations) if each is Operation.TRIGGER]
        speaker = triggers[-1] if triggers else -1
        order[speaker] = _speaking(order[speaker], left)
    return Line(tuple(order), left)


def _speaking(one: Waiting, others: Sequence[Waiting]) -> Waiting:
    """Let one stand for others too."""
    count = sum(1 + each.collapsed for each in others)
    oldest = min((each.accepted_at for each in others), default=one.accepted_at)
    return attrs.evolve(
        one, collapsed=one.collapsed + count, accepted_at=min(one.accepted_at, oldest)
    )


def _missed(  # noqa: PLR0913, PLR0917 -- the places in line that matter, and what is known
    line: Sequence[Waiting],
    earlier: int | None,
    opening: int,
    closing: int,
    episode: Episode,
    action: AnyAction,
) -> Line:
    """Ask the action what to send for an episode that began and ended untold.

    Whatever it answers, what it opens is closed, and so is what may be open already: by the
    resolve of the episode before, where a new one is opened, so that somebody is notified.
    """
    before = earlier if episode.may_be_open else None
    others = [each for n, each in enumerate(line) if n not in (before, opening, closing)]
    begun, ended = _speaking(line[opening], others), line[closing]
    asked = _asked(action, begun.delivery, ended.delivery)
    place = begun.delivery.place
    here = {each.operation: each for each in asked if each.place == place}
    last = _saying(ended, here.get(Operation.RESOLVE, ended.delivery))
    kept: list[Waiting] = []
    if Operation.TRIGGER in here:
        if before is not None:
            kept.append(line[before])
        kept += [_saying(begun, attrs.evolve(here[Operation.TRIGGER], over=True)), last]
    elif episode.may_be_open or episode.in_doubt:
        kept.append(last)
    stays = [(each.id, each.delivery) for each in kept]
    left = [n for n, each in enumerate(line) if (each.id, each.delivery) not in stays]
    episode_began = -1 if earlier is None else earlier + 1
    dropped = [n for n in left if n >= episode_began and not asked]
    return Line(
        tuple(kept),
        collapsed=tuple(line[n] for n in left if n not in dropped),
        dropped=tuple(line[n] for n in dropped),
        elsewhere=tuple(_saying(begun, each) for each in asked if each.place != place),
    )


def _asked(action: AnyAction, opening: Delivery, closing: Delivery) -> Sequence[Delivery]:
    """Ask the action, once; where it fails, somebody is paged."""
    if opening.over:
        return (opening, closing)
    try:
        return action.missed(opening, closing)
    except Exception as error:  # noqa: BLE001 -- whatever a plugin does, the engine goes on
        failure = f"the action {action.name} failed: {told(error)}"
        return (attrs.evolve(opening, notes=(*opening.notes, failure)), closing)


def _saying(waiting: Waiting, delivery: Delivery) -> Waiting:
    """Give one that says something else: it has no row yet."""
    if delivery == waiting.delivery:
        return waiting
    return attrs.evolve(waiting, id=None, delivery=delivery, tried=False)
