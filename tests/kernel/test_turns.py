"""Turns are given in the order in which they were asked for."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable

import pytest

from hostspec.kernel.turns import Turns


class Queue:
    """People who wait for turns, each on a thread, and the order in which they got them."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.order: list[str] = []
        self._threads: list[threading.Thread] = []

    def wait(self, who: str, *names: Hashable) -> None:
        """Start to wait; returns when this one stands in every queue that it can reach."""
        thread = threading.Thread(target=self._take, args=(who, names), daemon=True)
        before = self.waiting(names)
        thread.start()
        self._threads.append(thread)
        for _ in range(20_000):
            if self.waiting(names) > before:
                return
            thread.join(0.001)
        pytest.fail("nobody came to wait")

    def waiting(self, names: Iterable[Hashable]) -> int:
        with self.turns._lock:
            return sum(len(self.turns._queues.get(name, ())) for name in names)

    def all_done(self) -> None:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _take(self, who: str, names: tuple[Hashable, ...]) -> None:
        with self.turns.of(names):
            self.order.append(who)


def test_who_comes_first_goes_first() -> None:
    queue = Queue()
    expected = [str(number) for number in range(20)]

    with queue.turns.of(["disk"]):
        for who in expected:
            queue.wait(who, "disk")
        assert queue.order == []
    queue.all_done()

    assert queue.order == expected


def test_other_names_do_not_wait() -> None:
    turns = Turns()

    with turns.of(["disk"]), turns.of(["cpu"]):
        pass


def test_several_names_are_held_together() -> None:
    queue = Queue()

    with queue.turns.of(["cpu", "disk", "cpu"]):
        queue.wait("cpu", "cpu")
        queue.wait("disk", "disk")
        assert queue.order == []
    queue.all_done()

    assert sorted(queue.order) == ["cpu", "disk"]


def test_names_in_another_order_wait_in_no_circle() -> None:
    """Both hold one and want the other, if each took them in its own order."""
    queue = Queue()

    with queue.turns.of(["cpu"]), queue.turns.of(["disk"]):
        queue.wait("a", "disk", "cpu")
        queue.wait("b", "cpu", "disk")
    queue.all_done()

    assert queue.order == ["a", "b"]


def test_nothing_is_kept_of_turns_that_are_over() -> None:
    queue = Queue()

    def fail() -> None:
        with queue.turns.of(["disk"]):
            queue.wait("next", "disk")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    queue.all_done()

    assert queue.order == ["next"]
    assert queue.turns._queues == {}


def test_one_that_is_interrupted_while_it_waits_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted:
        """A lock whose waiter is interrupted, as by Control-C."""

        def __init__(self) -> None:
            self.acquire = lambda: None

        def __enter__(self) -> None:
            raise KeyboardInterrupt

        def __exit__(self, *_: object) -> None: ...

    queue = Queue()
    with queue.turns.of(["disk"]):
        with monkeypatch.context() as patch:
            patch.setattr(threading, "Lock", Interrupted)
            with pytest.raises(KeyboardInterrupt), queue.turns.of(["disk"]):
                pass
        queue.wait("next", "disk")
    queue.all_done()

    assert queue.order == ["next"]
