"""Sliding windows that count messages against rate limits. Pure.

A window is kept as counts of short spans, so that its size does not grow with the limit. It is
counted a little too strictly: a span leaves the window as a whole, when its last moment has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from hostspec.action import Limit

USABLE: Final = 95
"""Percent of a limit that are used: providers count arrivals, which bunch on their way."""

ORDINARY: Final = 85
"""Percent of the usable messages that are not urgent; the rest is reserved for urgent ones."""

FURTHEST: Final = 600.0
"""Seconds: a longer pause means that the clock was reset."""

_SPANS: Final = 100
"""Spans in a window: the last moment of a full window is wasted, so there are many."""


@attrs.frozen
class RateLimit:
    """A limit, and the messages that were counted against its budget.

    All processes that share the budget read the same clock. After the clock jumps forward, a
    whole window may be used again at once. After it restarts from zero, at most two windows are
    lost.

    Attributes:
        limit: as the action described it last.
        used: by the millisecond in which a span ends, how many messages were sent in it: urgent
            ones, and others.
        paused_until: no message before this moment; the provider asked for it.
    """

    limit: Limit
    used: Mapping[int, Sequence[int]] = attrs.field(factory=dict)
    paused_until: float = 0.0

    def free_at(self, now: float, *, urgent: bool) -> float:
        """Return when the next message may be sent: `now`, or a later moment.

        An urgent message may use the reserved part.
        """
        window = self.limit.window
        recent = self._recent(now)
        usable = max(1, self.limit.count * USABLE // 100)
        sent = [(end, urgent + other) for end, (urgent, other) in recent.items()]
        free = max(now, self._paused_until(now), _room_at(sent, usable, window))
        if urgent:
            return free
        others = [(end, other) for end, (_, other) in recent.items()]
        return max(free, _room_at(others, max(1, usable * ORDINARY // 100), window))

    def take(self, now: float, *, urgent: bool) -> RateLimit:
        """Return the rate limit after one more message."""
        used = self._recent(now)
        end = _end(now, self.limit.window)
        one = (1, 0) if urgent else (0, 1)
        used[end] = _added(used.get(end, (0, 0)), one)
        return RateLimit(self.limit, used, self._paused_until(now))

    def land(self, sent: float, now: float, *, urgent: bool) -> RateLimit:
        """Return the rate limit after a message was answered that was taken when it was sent.

        The provider counts it when it arrives: at the latest now.
        """
        counted, end = _end(sent, self.limit.window), _end(now, self.limit.window)
        if end <= counted or counted not in self.used:
            return self
        return self.give_back(sent, urgent=urgent).take(now, urgent=urgent)

    def give_back(self, sent: float, *, urgent: bool) -> RateLimit:
        """Return the rate limit without a message that was taken, and is not sent after all."""
        counted = _end(sent, self.limit.window)
        if counted not in self.used:
            return self
        of_urgent, of_others = self.used[counted]
        left = (of_urgent - 1, of_others) if urgent else (of_urgent, of_others - 1)
        return attrs.evolve(self, used={**self.used, counted: left})

    def pause(self, until: float) -> RateLimit:
        """Return the rate limit after the provider asked for a pause."""
        return attrs.evolve(self, paused_until=max(self.paused_until, until))

    def _paused_until(self, now: float) -> float:
        return self.paused_until if self.paused_until <= now + FURTHEST else 0.0

    def _recent(self, now: float) -> dict[int, tuple[int, int]]:
        """Return the spans that still count, the oldest first.

        A span in the future was counted before the clock was reset, and counts as of now. One
        more than a window ahead would count for ever, and is left out.
        """
        window = self.limit.window
        recent: dict[int, tuple[int, int]] = {}
        for end, (urgent, other) in sorted(self.used.items()):
            if now < end / _MILLI + window and end <= _end(now + window, window):
                counted = min(end, _end(now, window))
                recent[counted] = _added(recent.get(counted, (0, 0)), (urgent, other))
        return recent


_MILLI: Final = 1000


def _end(now: float, window: float) -> int:
    """Return the millisecond in which the span of a moment ends."""
    span = max(1, int(window * _MILLI / _SPANS))
    return (int(now * _MILLI) // span + 1) * span


def _added(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _room_at(sent: Sequence[tuple[int, int]], allowed: int, window: float) -> float:
    """Return when the window has room for one more message; 0 for at any time."""
    spent = sum(count for _, count in sent)
    room = 0.0
    for end, count in sent:
        if spent < allowed:
            break
        spent -= count
        room = end / _MILLI + window
    return room
