"""Named locks that are acquired in the order of the requests."""

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

from hostspec.forking import Locked

NESTED_TIMEOUT: Final = 5.0
"""Seconds that a call within another call waits for a lock: two such calls could deadlock."""


class LockTimeoutError(Exception):
    """A lock was not acquired; the message says why, for a report."""


@attrs.define(eq=False)
class Call:
    """One call of a host.

    Attributes:
        parent: the call during which a plugin or log handler made this one, if any.
        ends: when it stops waiting, on the monotonic clock; None for no limit.
        seconds: the limit in seconds from its start, for messages.
    """

    parent: Call | None = None
    ends: float | None = None
    seconds: float = 0.0
    over: bool = False

    @property
    def left(self) -> float | None:
        """Seconds until it stops waiting; None for no limit."""
        return None if self.ends is None else max(0.0, self.ends - monotonic())

    def is_within(self, other: Call) -> bool:
        """Check whether this call is made within another one, at any depth."""
        call = self.parent
        while call is not None and call is not other:
            call = call.parent
        return call is other


_current: contextvars.ContextVar[Call | None] = contextvars.ContextVar(
    "hostspec_call", default=None
)


@contextlib.contextmanager
def begin_call(seconds: float | None = None) -> Iterator[Call]:
    """Begin a call in this thread that waits so many seconds in all; None for no limit."""
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
class Ticket:
    """A position in the queue of a lock. Release it, whether or not it was acquired."""

    name: Any
    call: Call
    owner: Hashable
    width: int
    acquired: threading.Event = attrs.field(factory=threading.Event)


class FairLocks(Locked):
    """Locks by name, each acquired in the order of the requests.

    A lock of `threading` goes to any waiting thread, so that a resolve could overtake the trigger
    before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._queues: dict[Hashable, collections.deque[Ticket]] = {}

    def after_fork_in_child(self) -> None:
        """Start without tickets: the threads that held locks are not in the child."""
        super().after_fork_in_child()
        self._queues = {}

    def enqueue(
        self, names: Iterable[Hashable], call: Call, *, owner: Hashable = None, width: int = 1
    ) -> list[Ticket]:
        """Join the queues of all the locks at once, so that no two callers wait in a circle.

        As many tickets as the width, which is the same for each use of a name, may hold a lock at
        a time. The owner is for `owned_by`.
        """
        with self._lock:
            tickets = [Ticket(name, call, owner, width) for name in dict.fromkeys(names)]
            for ticket in tickets:
                queue = self._queues.setdefault(ticket.name, collections.deque())
                queue.append(ticket)
                if len(queue) <= width:
                    ticket.acquired.set()
            return tickets

    def owned_by(self, owner: Hashable) -> tuple[Any, ...]:
        """Return the names of the locks for which an owner has a ticket."""
        with self._lock:
            tickets = itertools.chain.from_iterable(self._queues.values())
            return tuple(dict.fromkeys(each.name for each in tickets if each.owner == owner))

    def acquire(self, ticket: Ticket) -> None:
        """Wait for a lock, as long as the ticket's call may wait.

        Raises:
            LockTimeoutError: it was not acquired in time, or never can be: the call within which
                this one is made holds it.
        """
        if ticket.acquired.is_set():
            return
        call, left = ticket.call, ticket.call.left
        if call.parent is not None:
            left = NESTED_TIMEOUT if left is None else min(left, NESTED_TIMEOUT)
            with self._lock:
                queue = self._queues.get(ticket.name, ())
                ahead = list(itertools.takewhile(lambda each: each is not ticket, queue))
            if any(call.is_within(each.call) for each in ahead):
                message = (
                    "called while the caller itself is handling the same alert or incident, which"
                    " would wait for ever; call it afterwards, or on another thread"
                )
                raise LockTimeoutError(message)
        if not ticket.acquired.wait(left):
            seconds = call.seconds if call.parent is None else left
            message = (
                f"not sent within {seconds:g} s: earlier messages about the same incident or"
                " destination are still being sent"
            )
            raise LockTimeoutError(message)

    def release(self, ticket: Ticket) -> None:
        """Leave a queue, so that the next ticket acquires the lock."""
        with self._lock:
            queue = self._queues.get(ticket.name, collections.deque())
            with contextlib.suppress(ValueError):  # a forked child has no queues
                queue.remove(ticket)
                for following in itertools.islice(queue, ticket.width):
                    following.acquired.set()
                if not queue:
                    del self._queues[ticket.name]

    @contextlib.contextmanager
    def hold(self, name: Hashable, call: Call, *, width: int = 1) -> Iterator[None]:
        """Acquire a lock as `acquire` does, and hold it in this block."""
        (ticket,) = self.enqueue([name], call, width=width)
        try:
            self.acquire(ticket)
            yield
        finally:
            self.release(ticket)
