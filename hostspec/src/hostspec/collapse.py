"""What of the messages waiting for one incident still needs to be sent."""

from __future__ import annotations

from collections.abc import Sequence

from hostspec.incident import Operation


def collapse(waiting: Sequence[Operation], *, may_be_open: bool) -> tuple[int, ...]:
    """Reduce what waits for one incident to the few messages that come to the same.

    Whatever state the provider holds the incident in, sending what is kept leaves it in the
    state that sending everything would have left it in, with the newest content, and with a
    notification for the latest episode. Kept are at most: the last resolve, the newest
    trigger after it, the newest acknowledge, the newest update.

    Args:
        waiting: the operations, in the order in which they were accepted.
        may_be_open: whether the provider may hold the incident open now; a message in flight
            or in doubt counts as may be open.

    Returns:
        the indices of what is to be sent, in the order of sending. An acknowledge from before
        the first trigger goes first: it means the incident that may be open, not a new one.
    """
    resolved = _last(waiting, Operation.RESOLVE, 0)
    start = 0 if resolved is None else resolved + 1
    still_open = may_be_open and resolved is None
    opened = _first(waiting, Operation.TRIGGER, start)
    newest = _last(waiting, Operation.TRIGGER, start)
    acknowledged = _last(waiting, Operation.ACKNOWLEDGE, start)
    updated = _last(waiting, Operation.UPDATE, start)

    before: list[int | None] = [resolved if may_be_open else None]
    after: list[int | None] = [newest]
    if updated is not None and (still_open if newest is None else updated > newest):
        after.append(updated)
    if acknowledged is not None:
        if opened is not None and acknowledged > opened:
            after.append(acknowledged)
        elif still_open:
            before.append(acknowledged)
    return tuple(index for index in (*before, *after) if index is not None)


def _first(waiting: Sequence[Operation], wanted: Operation, start: int) -> int | None:
    return next((n for n in range(start, len(waiting)) if waiting[n] is wanted), None)


def _last(waiting: Sequence[Operation], wanted: Operation, start: int) -> int | None:
    return next((n for n in range(len(waiting) - 1, start - 1, -1) if waiting[n] is wanted), None)
