"""Turns: first come, first served, and no lock is held while a turn lasts."""

from __future__ import annotations

import collections
import contextlib
import contextvars
import itertools
import threading
from collections.abc import Hashable, Iterable, Iterator
from time import monotonic
from typing import Any, Final

import attrs

from hostspec import forking

NESTED_PATIENCE: Final = 5.0
"""Seconds that a call made within another one waits for a turn: two such could wait in a circle."""


class NoTurnError(Exception):
    """A turn did not come; the message says why, for a report."""


@attrs.define(eq=False)
class Call:
    """One call of a host. Calls that plugins or log handlers make within it have it as parent.

    Attributes:
        parent: the call in which this one is made, where that still lasts.
        ends: when it waits no longer, on the monotonic clock; None for no limit.
        seconds: the limit in seconds from its start, for messages.
    """

    parent: Call | None = None
    ends: float | None = None
    seconds: float = 0.0
    over: bool = False

    @property
    def left(self) -> float | None:
        """Seconds until it waits no longer; None for no limit."""
        return None if self.ends is None else max(0.0, self.ends - monotonic())

    def is_within(self, other: Call) -> bool:
        """Check whether this call is made within another one, at whatever depth."""
        call = self.parent
        while call is not None and call is not other:
            call = call.parent
        return call is other


_current: contextvars.ContextVar[Call | None] = contextvars.ContextVar(
    "hostspec_call", default=None
)


@contextlib.contextmanager
def calling(seconds: float | None = None) -> Iterator[Call]:
    """Begin a call of this thread that waits so many seconds in all; None for no limit."""
    outer = _current.get()
    parent = None if outer is None or outer.over else outer
    ends = None if seconds is None else monotonic() + seconds
    call = Call(parent, ends, seconds or 0.0)
    token = _current.set(call)
    try:
        yield call
    finally:
        call.over = True
        _current.reset(token)


@attrs.define(eq=False)
class Turn:
    """A place in a queue. Leave it, whether or not the turn came."""

    name: Any
    call: Call
    owner: Hashable
    came: threading.Event = attrs.field(factory=threading.Event)


class Turns:
    """Queues by name, in which each gets its turn in the order in which they came.

    A lock of `threading` goes to any of those who wait, and a resolve could overtake the
    trigger before it.
    """

    def __init__(self) -> None:
        self._start()
        forking.register(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[Hashable, collections.deque[Turn]] = {}
        self._owned: dict[Hashable, collections.Counter[Hashable]] = {}

    def before_fork(self) -> None:
        """Finish what other threads do to the queues."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Start without turns: the threads that had turns are not in the child."""
        self._start()

    def line_up(
        self, names: Iterable[Hashable], call: Call, *, owner: Hashable = None, width: int = 1
    ) -> list[Turn]:
        """Join the queues of all the names at once, so that no two callers wait in a circle.

        Args:
            names: of the queues.
            call: that takes the turns.
            owner: whose turns they are, for `owned_by`; None for no owner.
            width: how many may have their turn at the same time, the same for each use of a name.
        """
        with self._lock:
            turns = [Turn(name, call, owner) for name in dict.fromkeys(names)]
            for turn in turns:
                queue = self._queues.setdefault(turn.name, collections.deque())
                queue.append(turn)
                if len(queue) <= width:
                    turn.came.set()
                if owner is not None:
                    self._owned.setdefault(owner, collections.Counter())[turn.name] += 1
            return turns

    def owned_by(self, owner: Hashable) -> tuple[Any, ...]:
        """Return the names of the queues in which an owner waits."""
        with self._lock:
            return tuple(self._owned.get(owner, ()))

    def wait(self, turn: Turn) -> None:
        """Wait until a turn comes, for as long as its call may wait.

        Raises:
            NoTurnError: it did not come in time, or never can: its own caller has the turn.
        """
        if turn.came.is_set():
            return
        call, left = turn.call, turn.call.left
        if call.parent is not None:
            left = NESTED_PATIENCE if left is None else min(left, NESTED_PATIENCE)
            with self._lock:
                queue = self._queues.get(turn.name, ())
                ahead = list(itertools.takewhile(lambda each: each is not turn, queue))
            if any(call.is_within(each.call) for each in ahead):
                message = (
                    "called while the same alert or incident is being handled by the caller"
                    " itself, so that waiting would never end; call it after that, or on another"
                    " thread"
                )
                raise NoTurnError(message)
        if not turn.came.wait(left):
            seconds = call.seconds if call.parent is None else left
            message = (
                f"not sent within {seconds:g} s: earlier messages about the same incident or"
                " destination are still being sent"
            )
            raise NoTurnError(message)

    def leave(self, turn: Turn, *, width: int = 1) -> None:
        """Leave a queue, so that the next one's turn comes."""
        with self._lock:
            queue = self._queues.get(turn.name, collections.deque())
            with contextlib.suppress(ValueError):  # in a child it is in no queue
                queue.remove(turn)
                for next_one in itertools.islice(queue, width):
                    next_one.came.set()
                if not queue:
                    del self._queues[turn.name]
                if turn.owner is not None:
                    self._disown(turn)

    @contextlib.contextmanager
    def of(self, name: Hashable, call: Call, *, width: int = 1) -> Iterator[None]:
        """Wait for the turn at one name, and have it.

        Raises:
            NoTurnError: as `wait`.
        """
        (turn,) = self.line_up([name], call, width=width)
        try:
            self.wait(turn)
            yield
        finally:
            self.leave(turn, width=width)

    def _disown(self, turn: Turn) -> None:
        names = self._owned[turn.owner]
        names[turn.name] -= 1
        if not names[turn.name]:
            del names[turn.name]
        if not names:
            del self._owned[turn.owner]
