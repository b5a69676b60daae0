"""Locks are acquired in the order of the requests."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from time import monotonic

import pytest

from hostspec.inprocess.fair_lock import Call, FairLocks, LockTimeoutError, Ticket, begin_call


class Queue:
    """Threads that wait for locks, and the order in which they acquired them."""

    def __init__(self) -> None:
        self.locks = FairLocks()
        self.order: list[str] = []
        self._threads: list[threading.Thread] = []

    def wait(self, who: str, name: Hashable, width: int = 1) -> None:
        """Join a queue now, and wait on another thread."""
        (ticket,) = self.locks.enqueue([name], Call(), width=width)
        thread = threading.Thread(target=self._take, args=(who, ticket), daemon=True)
        thread.start()
        self._threads.append(thread)

    def all_done(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _take(self, who: str, ticket: Ticket) -> None:
        self.locks.acquire(ticket)
        self.order.append(who)
        self.locks.release(ticket)


def test_locks_are_acquired_in_order() -> None:
    queue = Queue()
    expected = [str(number) for number in range(20)]

    with queue.locks.hold("disk", Call()):
        for who in expected:
            queue.wait(who, "disk")
        assert queue.order == []
    queue.all_done()

    assert queue.order == expected


def test_other_locks_do_not_wait() -> None:
    locks = FairLocks()

    with locks.hold("disk", Call()), locks.hold("cpu", Call()):
        pass


def test_several_locks_are_enqueued_at_once() -> None:
    locks = FairLocks()

    first = locks.enqueue(["cpu", "disk", "cpu"], Call())
    second = locks.enqueue(["disk", "cpu"], Call())

    assert [ticket.name for ticket in first] == ["cpu", "disk"]
    assert all(ticket.acquired.is_set() for ticket in first)
    assert not any(ticket.acquired.is_set() for ticket in second)


def test_tickets_of_an_owner_are_known() -> None:
    locks = FairLocks()
    tickets = [*locks.enqueue(["cpu"], Call(), owner="a"), *locks.enqueue("ab", Call(), owner="a")]
    tickets += locks.enqueue(["cpu"], Call(), owner="a")

    assert locks.owned_by("a") == ("cpu", "a", "b")
    assert locks.owned_by("b") == ()
    for ticket in tickets:
        locks.release(ticket)

    assert locks._queues == {}


def test_wide_lock_has_several_holders() -> None:
    locks = FairLocks()
    tickets = [locks.enqueue(["lane"], Call(), width=2)[0] for _ in range(4)]

    assert [ticket.acquired.is_set() for ticket in tickets] == [True, True, False, False]
    locks.release(tickets[1])

    assert [ticket.acquired.is_set() for ticket in tickets] == [True, True, True, False]


def test_released_tickets_are_forgotten() -> None:
    queue = Queue()

    def fail() -> None:
        with queue.locks.hold("disk", Call()):
            queue.wait("next", "disk")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    queue.all_done()

    assert queue.order == ["next"]
    assert queue.locks._queues == {}


def test_timed_out_ticket_does_not_block_others() -> None:
    queue = Queue()

    with queue.locks.hold("disk", Call()):
        late = Call(ends=monotonic(), seconds=2)
        with (
            pytest.raises(LockTimeoutError, match="not sent within 2 s: earlier messages"),
            queue.locks.hold("disk", late),
        ):
            pass
        queue.wait("next", "disk")
    queue.all_done()

    assert queue.order == ["next"]


def test_nested_call_does_not_wait_for_its_caller() -> None:
    locks = FairLocks()

    with begin_call() as outer, locks.hold("disk", outer), begin_call(), begin_call() as inner:
        locks.enqueue(["disk"], Call())
        with (
            pytest.raises(LockTimeoutError, match="the caller itself is handling"),
            locks.hold("disk", inner),
        ):
            pass
        with locks.hold("cpu", inner):
            pass

    with begin_call() as later:
        assert later.parent is None


def test_nested_call_waits_for_other_callers_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit, two nested calls that wait for each other would hang."""
    monkeypatch.setattr("hostspec.inprocess.fair_lock.NESTED_TIMEOUT", 0.01)
    locks = FairLocks()

    with locks.hold("disk", Call()), begin_call():
        for limit in (None, 60.0):
            with (
                begin_call(limit) as inner,
                pytest.raises(LockTimeoutError, match=r"within 0\.01 s"),
                locks.hold("disk", inner),
            ):
                pass
