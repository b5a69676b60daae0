"""Turns are given in the order in which they were asked for."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from time import monotonic

import pytest

from hostspec.inprocess.fair_lock import Call, NoTurnError, Turn, Turns, calling


class Queue:
    """People who wait for turns, each on a thread, and the order in which they got them."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.order: list[str] = []
        self._threads: list[threading.Thread] = []

    def wait(self, who: str, name: Hashable, width: int = 1) -> None:
        """Join a queue now, and wait on another thread."""
        (turn,) = self.turns.line_up([name], Call(), width=width)
        thread = threading.Thread(target=self._take, args=(who, turn), daemon=True)
        thread.start()
        self._threads.append(thread)

    def all_done(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _take(self, who: str, turn: Turn) -> None:
        self.turns.wait(turn)
        self.order.append(who)
        self.turns.leave(turn)


def test_who_comes_first_goes_first() -> None:
    queue = Queue()
    expected = [str(number) for number in range(20)]

    with queue.turns.of("disk", Call()):
        for who in expected:
            queue.wait(who, "disk")
        assert queue.order == []
    queue.all_done()

    assert queue.order == expected


def test_other_names_do_not_wait() -> None:
    turns = Turns()

    with turns.of("disk", Call()), turns.of("cpu", Call()):
        pass


def test_several_names_are_lined_up_for_at_once() -> None:
    turns = Turns()

    first = turns.line_up(["cpu", "disk", "cpu"], Call())
    second = turns.line_up(["disk", "cpu"], Call())

    assert [turn.name for turn in first] == ["cpu", "disk"]
    assert all(turn.came.is_set() for turn in first)
    assert not any(turn.came.is_set() for turn in second)


def test_an_owner_s_queues_are_known() -> None:
    turns = Turns()
    standing = [*turns.line_up(["cpu"], Call(), owner="a"), *turns.line_up("ab", Call(), owner="a")]
    standing += turns.line_up(["cpu"], Call(), owner="a")

    assert turns.owned_by("a") == ("cpu", "a", "b")
    assert turns.owned_by("b") == ()
    for turn in standing:
        turns.leave(turn)

    assert (turns._queues, turns._owned) == ({}, {})


def test_a_wide_queue_lets_so_many_in_at_a_time() -> None:
    turns = Turns()
    standing = [turns.line_up(["lane"], Call(), width=2)[0] for _ in range(4)]

    assert [turn.came.is_set() for turn in standing] == [True, True, False, False]
    turns.leave(standing[1], width=2)

    assert [turn.came.is_set() for turn in standing] == [True, True, True, False]


def test_nothing_is_kept_of_turns_that_are_over() -> None:
    queue = Queue()

    def fail() -> None:
        with queue.turns.of("disk", Call()):
            queue.wait("next", "disk")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    queue.all_done()

    assert queue.order == ["next"]
    assert queue.turns._queues == {}


def test_one_whose_time_is_up_holds_up_nobody() -> None:
    queue = Queue()

    with queue.turns.of("disk", Call()):
        late = Call(ends=monotonic(), seconds=2)
        with (
            pytest.raises(NoTurnError, match="not sent within 2 s: earlier messages"),
            queue.turns.of("disk", late),
        ):
            pass
        queue.wait("next", "disk")
    queue.all_done()

    assert queue.order == ["next"]


def test_a_call_does_not_wait_for_the_one_it_is_made_in() -> None:
    turns = Turns()

    with calling() as outer, turns.of("disk", outer), calling(), calling() as inner:
        turns.line_up(["disk"], Call())
        with (
            pytest.raises(NoTurnError, match="being handled by the caller itself"),
            turns.of("disk", inner),
        ):
            pass
        with turns.of("cpu", inner):
            pass

    with calling() as later:
        assert later.parent is None


def test_a_call_within_another_waits_for_a_stranger_s_turn_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two strangers that wait for each other, each within the other's turn, would hang."""
    monkeypatch.setattr("hostspec.inprocess.fair_lock.NESTED_PATIENCE", 0.01)
    turns = Turns()

    with turns.of("disk", Call()), calling():
        for limit in (None, 60.0):
            with (
                calling(limit) as inner,
                pytest.raises(NoTurnError, match=r"within 0\.01 s"),
                turns.of("disk", inner),
            ):
                pass
