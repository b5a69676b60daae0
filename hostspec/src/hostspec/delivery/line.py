"""The line: what waits for one incident, and what is left of it when one more comes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from hostspec.action import AnyAction
from hostspec.collapse import collapse
from hostspec.delivery.verdict import Episode
from hostspec.incident import Delivery, Operation
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
    """Put one more in line, and reduce the line to what still needs to be sent.

    Args:
        waiting: what waits and is not being sent, in order.
        new: what comes.
        episode: what is known of the incident.
        action: says what may collapse, and what to do about a problem nobody was told of.
        flying: something of the incident is being sent now.
    """
    line = (*waiting, new)
    if not action.capabilities.collapse:
        return Line(line)
    untold = _untold(line, episode) if not flying else None
    if untold is not None:
        return _missed(line, untold, action, may_be_open=episode.may_be_open)
    may_be_open = episode.may_be_open or flying
    return _collapsed(line, may_be_open=may_be_open)


def _collapsed(line: Sequence[Waiting], *, may_be_open: bool) -> Line:
    kept = collapse([each.delivery.operation for each in line], may_be_open=may_be_open)
    left = [each for index, each in enumerate(line) if index not in kept]
    order = [line[index] for index in kept]
    if order and left:
        # the one that is sent last speaks for all that are not sent
        count = sum(1 + each.collapsed for each in left)
        oldest = min(each.accepted_at for each in (*left, order[-1]))
        last = attrs.evolve(order[-1], collapsed=order[-1].collapsed + count, accepted_at=oldest)
        order[-1] = last
    return Line(tuple(order), tuple(left))


def _untold(line: Sequence[Waiting], episode: Episode) -> Waiting | None:
    """Find the newest trigger of an episode that ends now, and that nobody was told of."""
    *before, last = line
    if last.delivery.operation is not Operation.RESOLVE or episode.told:
        return None
    for each in reversed(before):
        if each.delivery.operation is Operation.RESOLVE:
            return None
        if each.delivery.operation is Operation.TRIGGER:
            return each
    return None


def _missed(
    line: Sequence[Waiting], opening: Waiting, action: AnyAction, *, may_be_open: bool
) -> Line:
    """Ask the action what to send for a problem that began and ended untold."""
    closing = line[-1]
    place = opening.delivery.place
    asked = [
        attrs.evolve(opening, id=None, delivery=delivery, collapsed=opening.collapsed)
        for delivery in action.missed(opening.delivery, closing.delivery)
    ]
    kept = [each for each in asked if each.delivery.place == place]
    if may_be_open and Operation.RESOLVE not in {each.delivery.operation for each in kept}:
        kept.append(closing)  # an attempt may have arrived: what it opened is closed
    gone = tuple(each for each in line if each not in kept)
    elsewhere = tuple(each for each in asked if each.delivery.place != place)
    if asked:
        return Line(tuple(kept), collapsed=gone, elsewhere=elsewhere)
    return Line(tuple(kept), dropped=gone)
