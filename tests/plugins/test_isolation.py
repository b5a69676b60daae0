"""No implementation of a hook can harm another plugin or the host."""

from __future__ import annotations

import functools
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pluggy
import pytest

from hostspec import Answer, hookimpl, hookspec
from hostspec.errors import describe_error
from hostspec.plugins.isolation import DEADLINE, FAILURES, IsolatedHooks

LONG = 60.0
"""Seconds that no test reaches."""


class Specs:
    @hookspec
    def volume(self, alert: str, loud: bool) -> None:  # noqa: FBT001 -- a hook's argument
        """Decide how loud."""


def answering(function: Callable[..., Any], **options: bool) -> object:
    """Make a plugin of the implementation of one hook."""

    class Plugin:
        volume = staticmethod(hookimpl(**options)(function))

    return Plugin()


def hooks_of(
    deadline: float = LONG, /, clock: Callable[[], float] = time.monotonic, **plugins: object
) -> IsolatedHooks:
    manager = pluggy.PluginManager("hostspec")
    manager.add_hookspecs(Specs)
    for name, plugin in reversed(plugins.items()):
        manager.register(plugin, name=name)
    return IsolatedHooks(manager, deadline, clock)


def ask(hooks: IsolatedHooks, alert: object = "disk") -> list[Answer]:
    return list(hooks.each("volume", alert=alert, loud=True))


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Return an event that is set after the test, so that no thread is left waiting."""
    event = threading.Event()
    yield event
    event.set()


def test_implementations_are_called_in_the_order_of_pluggy() -> None:
    hooks = hooks_of(
        a=answering(lambda: 1),
        b=answering(lambda: 2, trylast=True),
        c=answering(lambda: 3),
        d=answering(lambda: 4, tryfirst=True),
    )

    assert ask(hooks) == [Answer("d", 4), Answer("a", 1), Answer("c", 3), Answer("b", 2)]


def test_unimplemented_hook_has_no_answers() -> None:
    assert ask(hooks_of()) == []


def test_only_none_is_no_opinion() -> None:
    hooks = hooks_of(
        a=answering(lambda: None),
        b=answering(lambda: False),
        c=answering(lambda: ""),
        d=answering(lambda: ()),
    )

    assert ask(hooks) == [Answer("b", value=False), Answer("c", ""), Answer("d", ())]


def test_implementation_gets_the_arguments_that_it_takes() -> None:
    hooks = hooks_of(
        a=answering(lambda alert, loud: [alert, loud]),
        b=answering(lambda loud, alert: [alert, loud]),
        c=answering(lambda alert: alert),
        d=answering(lambda: "nothing"),
    )

    assert [answer.value for answer in ask(hooks)] == [
        ["disk", True],
        ["disk", True],
        "disk",
        "nothing",
    ]


def test_default_is_used_only_without_an_argument() -> None:
    """A plugin may take an argument that older versions of a hook do not have."""
    hooks = hooks_of(a=answering(lambda loud=None, newer="default": [loud, newer]))

    assert [answer.value for answer in ask(hooks)] == [[True, "default"]]


def test_methods_are_bound() -> None:
    class Plugin:
        loudness = 11

        @hookimpl
        def volume(self, alert: str) -> list[object]:
            return [self.loudness, alert]

    assert ask(hooks_of(a=Plugin())) == [Answer("a", [11, "disk"])]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("canary"),
        SystemExit("canary"),
        KeyboardInterrupt("canary"),
        GeneratorExit("canary"),
        BaseExceptionGroup("canary", [SystemExit("canary")]),
    ],
)
def test_exception_harms_no_other_implementation(error: BaseException) -> None:
    """The message of the exception may contain a secret, and is left out."""

    def fail(alert: str) -> None:
        raise error

    hooks = hooks_of(a=answering(lambda: 1), b=answering(fail), c=answering(lambda: 3))

    first, failed, last = ask(hooks, alert="canary")

    assert (first, last) == (Answer("a", 1), Answer("c", 3))
    assert (failed.plugin, failed.value) == ("b", None)
    assert failed.failure.startswith("failed at tests/plugins/test_isolation.py:")
    assert "canary" not in repr(failed)


def test_missing_argument_is_a_failure() -> None:
    hooks = hooks_of(a=answering(lambda alert: alert), b=answering(lambda: 2))

    failed, answer = hooks.each("volume", loud=True)

    assert failed.failure.startswith("failed at ")
    assert answer == Answer("b", 2)


def test_coroutine_is_a_failure() -> None:
    """A plain function may return one, which cannot be detected before the call."""

    async def volume() -> int:
        return 11

    @functools.wraps(volume)
    def disguised() -> Any:
        return volume()

    (answer,) = ask(hooks_of(a=answering(disguised)))

    assert answer == Answer("a", None, "returned a coroutine, which is not run")


def test_failing_proxy_is_returned_unchanged() -> None:
    """``__class__`` of a proxy may run any code."""

    class Proxy:
        @property  # type: ignore[misc]
        def __class__(self) -> type:
            raise RuntimeError("canary")

    proxy = Proxy()

    (answer,) = ask(hooks_of(a=answering(lambda: proxy)))

    assert answer.value is proxy
    assert answer.failure == ""


def test_slow_implementation_is_paused(
    gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    """It is called again once the pause is over and the late call has ended."""
    now = 0.0
    calls: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()

    def slow() -> str:
        calls.put(threading.current_thread())
        gate.wait()
        return "late"

    hooks = hooks_of(0.05, a=answering(lambda: 1), b=answering(slow), clock=lambda: now)
    late = Answer("b", None, "exceeded its deadline of 0.05 s", paused=True)
    paused = Answer("b", None, "was not called: it exceeded its deadline before", paused=True)
    before = FAILURES.counts().get(("b", "volume"), 0)

    assert ask(hooks) == [Answer("a", 1), late]
    now = 9.0
    assert ask(hooks) == [Answer("a", 1), paused]
    now = 10.0
    assert ask(hooks) == [Answer("a", 1), paused], "the late call goes on"
    gate.set()
    calls.get(timeout=LONG).join(LONG)
    gate.clear()
    assert ask(hooks) == [Answer("a", 1), late]
    gate.set()
    calls.get(timeout=LONG).join(LONG)
    now = 29.0
    assert ask(hooks) == [Answer("a", 1), paused], "the second pause is twice as long"
    now = 30.0
    assert ask(hooks) == [Answer("a", 1), Answer("b", "late")]
    assert hooks._paused == {}
    assert FAILURES.counts()["b", "volume"] - before == 5
    assert caplog.messages == [
        "plugin b: volume exceeded its deadline of 0.05 s; it is not called for 10 s",
        "plugin b: volume exceeded its deadline of 0.05 s; it is not called for 20 s",
    ]


def test_only_the_slow_hook_is_paused(gate: threading.Event) -> None:
    class MoreSpecs:
        @hookspec
        def colour(self) -> None:
            """Decide the colour."""

    class Plugin:
        @hookimpl
        def volume(self) -> None:
            gate.wait()

        @hookimpl
        def colour(self) -> str:
            return "red"

    manager = pluggy.PluginManager("hostspec")
    manager.add_hookspecs(Specs)
    manager.add_hookspecs(MoreSpecs)
    manager.register(Plugin(), name="a")
    hooks = IsolatedHooks(manager, 0.05)

    ask(hooks)

    assert hooks.each("colour") == (Answer("a", "red"),)


def test_abandoned_call_keeps_no_process_alive(gate: threading.Event) -> None:
    threads: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()

    def slow() -> None:
        threads.put(threading.current_thread())
        gate.wait()

    ask(hooks_of(0.05, bell=answering(slow)))

    thread = threads.get_nowait()
    assert thread.daemon
    assert thread.name == "volume of bell"


def test_missing_thread_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """This happens on a machine without free threads, or while the interpreter ends."""

    def refuse(thread: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    hooks = hooks_of(a=answering(lambda: 1))
    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert ask(hooks) == [Answer("a", None, "was not called: no thread could be started")]


def test_several_threads_may_call_at_once() -> None:
    """All threads are inside the implementation at once, and each gets its own answers."""
    together = threading.Barrier(8)

    def meet(alert: int) -> int:
        together.wait(LONG)
        return alert

    hooks = hooks_of(a=answering(meet), b=answering(lambda alert: -alert))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: ask(hooks, number), range(8)))

    assert answers == [[Answer("a", number), Answer("b", -number)] for number in range(8)]


def test_default_deadline_is_a_second() -> None:
    """The documentation states it."""
    assert DEADLINE == 1.0


def test_error_without_a_traceback_is_described() -> None:
    assert describe_error(ValueError("canary")) == "failed"


def test_error_is_described_with_its_place() -> None:
    with pytest.raises(ValueError, match="canary") as caught:
        int("canary")
    line = sys._getframe().f_lineno - 1

    assert describe_error(caught.value) == f"failed at tests/plugins/test_isolation.py:{line}"


def test_failing_extension_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0

    def fail() -> None:
        raise ValueError

    hooks = hooks_of(LONG, lambda: now, sulky=answering(fail))
    for _ in range(3):
        ask(hooks)
    [logged] = caplog.messages
    assert logged.startswith("plugin sulky: volume failed at tests/plugins/test_isolation.py:")

    caplog.clear()
    now += 60.0
    ask(hooks)
    assert caplog.messages == [f"2 more like this were not logged: {logged}", logged]
