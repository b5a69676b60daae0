"""Calls implementations of hooks one by one, so that no plugin can harm another or the host."""

from __future__ import annotations

import contextvars
import queue
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

import pluggy

from hostspec.hookspecs import Answer

DEADLINE: Final = 1.0
"""Seconds an implementation may take before it is left behind and switched off."""


def told(error: BaseException) -> str:
    """Name an error and where it was raised; never its message, which may hold a secret."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return type(error).__name__
    file = PurePath(traceback.tb_frame.f_code.co_filename).name
    return f"{type(error).__name__} at {file}:{traceback.tb_lineno}"


class IsolatedHooks:
    """The hooks of one plugin manager, each implementation called on its own.

    In pluggy's order. One that raises (``SystemExit`` too) is an answer with a failure. One
    that takes longer than the deadline is left behind on its daemon thread, and not called
    again by this object.
    """

    def __init__(self, manager: pluggy.PluginManager, deadline: float = DEADLINE) -> None:
        self._manager = manager
        self._deadline = deadline
        self._switched_off: set[tuple[str, str]] = set()

    def each(self, name: str, /, **arguments: object) -> Sequence[Answer]:
        """Call every implementation of a hook; see `hostspec.Hooks.each`."""
        answers = (
            self._ask(name, implementation, arguments)
            for implementation in implementations(self._manager, name)
        )
        return tuple(answer for answer in answers if answer is not None)

    def _ask(
        self, name: str, implementation: pluggy.HookImpl, arguments: Mapping[str, object]
    ) -> Answer | None:
        plugin = implementation.plugin_name
        if (plugin, name) in self._switched_off:
            return Answer(plugin, None, "switched off since it exceeded its deadline")
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        thread = threading.Thread(
            # in the caller's context, so that a hook that calls the host is known to be within it
            target=contextvars.copy_context().run,
            args=(lambda: answers.put(ask(implementation, arguments)),),
            name=f"{name} of {plugin}",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:
            return Answer(plugin, None, "there was no thread to call it on")
        try:
            answer = answers.get(timeout=self._deadline)
        except queue.Empty:
            self._switched_off.add((plugin, name))
            return Answer(plugin, None, f"exceeded its deadline of {self._deadline:g} s")
        return None if answer.value is None and not answer.failure else answer


def implementations(manager: pluggy.PluginManager, name: str) -> Sequence[pluggy.HookImpl]:
    """Give a hook's implementations in the order in which pluggy calls them."""
    caller: pluggy.HookCaller = getattr(manager.hook, name)
    return tuple(reversed(caller.get_hookimpls()))


def ask(implementation: pluggy.HookImpl, arguments: Mapping[str, object]) -> Answer:
    """Call one implementation with those of the arguments that it takes; never raises."""
    function: Callable[..., Any] = implementation.function
    taken = {
        name: arguments[name]
        for name in (*implementation.argnames, *implementation.kwargnames)
        if name in arguments
    }
    try:
        value = function(**taken)
    except BaseException as error:  # noqa: BLE001 -- SystemExit of a plugin must not end the host
        return Answer(implementation.plugin_name, None, told(error))
    if type(value) is types.CoroutineType:  # isinstance would ask a proxy, which may do anything
        value.close()
        return Answer(implementation.plugin_name, None, "returned a coroutine, which is not run")
    return Answer(implementation.plugin_name, value)
