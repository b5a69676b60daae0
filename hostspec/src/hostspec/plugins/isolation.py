"""Calls hooks and actions in isolation, so that no plugin harms another or the host."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import queue
import threading
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import pluggy

from hostspec.action import AnyAction, as_durable
from hostspec.delivery import Delivery, Incident, IncidentRef, Outcome, OutcomeKind, SendContext
from hostspec.errors import describe_any_error, describe_error, log_message
from hostspec.forking import Locked
from hostspec.hookspecs import PROJECT, Answer
from hostspec.plugins.limited_log import LimitedLog
from hostspec.provider import Installation

DEADLINE: Final = 1.0
"""Seconds an implementation may take before it is abandoned and paused."""

PAUSE: Final = 10.0
"""Seconds for which it is not called afterwards; they double each time in a row."""

LONGEST_PAUSE: Final = 600.0
"""The longest pause, in seconds."""

_PAUSED: Final = "was not called: it exceeded its deadline before"

_log = logging.getLogger("hostspec")


class Failures(Locked):
    """Counts failures of plugins in this process, by plugin and hook or by action and method."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, plugin: str, hook: str) -> None:
        """Count a failure, except in `failures_not_counted`."""
        if _not_counted.get():
            return
        with self._lock:
            self._counts[plugin, hook] += 1

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return the counts."""
        with self._lock:
            return dict(self._counts)


FAILURES: Final = Failures()

_not_counted: Final = contextvars.ContextVar("hostspec_failures_not_counted", default=False)


@contextlib.contextmanager
def failures_not_counted() -> Iterator[None]:
    """Count no failures in this block: the alert will be planned again, and counts them then."""
    token = _not_counted.set(True)
    try:
        yield
    finally:
        _not_counted.reset(token)


class IsolatedHooks:
    """The hooks of one plugin manager, each implementation called on its own.

    They are called in pluggy's order. An exception (``SystemExit`` too) becomes an answer with a
    failure. An implementation that exceeds the deadline is abandoned on its daemon thread; it is
    called again after a pause that grows, once that thread has ended.
    """

    def __init__(
        self,
        manager: pluggy.PluginManager,
        deadline: float = DEADLINE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.manager = manager
        self._deadline = deadline
        self._clock = clock
        self._paused: dict[tuple[str, str], _Pause] = {}
        self._log = LimitedLog(logging.getLogger("hostspec.planning"), clock)
        self._observers_log = LimitedLog(_log, clock)

    def each(self, name: str, /, **arguments: object) -> Sequence[Answer]:
        """Call every implementation of a hook; see `hostspec.Hooks.each`."""
        known = implementations(self.manager, name)
        if not known:
            return ()
        answers = (self._ask(name, implementation, arguments) for implementation in known)
        given = tuple(answer for answer in answers if answer is not None)
        self._log.flush()
        self._observers_log.flush()
        for answer in given:
            if answer.failure:
                FAILURES.add(answer.plugin, name)
                if not answer.paused:
                    self._write(name, answer.plugin, f"{name} {answer.failure}")
        return given

    def reject(self, name: str, answer: Answer, reason: str) -> None:
        """Log and count an answer that cannot be used; see `hostspec.Hooks.reject`."""
        FAILURES.add(answer.plugin, name)
        self._write(name, answer.plugin, reason)

    def _write(self, name: str, plugin: str, failure: str) -> None:
        observes = name.startswith(f"{PROJECT}_")
        log_ = self._observers_log if observes else self._log
        log_.write(plugin, f"{name} {failure}", f"plugin {plugin}: {failure}", logging.ERROR)

    def _ask(
        self, name: str, implementation: pluggy.HookImpl, arguments: Mapping[str, object]
    ) -> Answer | None:
        plugin = implementation.plugin_name
        pause = self._paused.get((plugin, name))
        if pause is not None and (pause.ends > self._clock() or pause.thread.is_alive()):
            return Answer(plugin, None, _PAUSED, paused=True)
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        thread = threading.Thread(
            # the caller's context shows that a hook that calls the host is within it
            target=contextvars.copy_context().run,
            args=(lambda: answers.put(ask(implementation, arguments)),),
            name=f"{name} of {plugin}",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:
            return Answer(plugin, None, "was not called: no thread could be started")
        try:
            answer = answers.get(timeout=self._deadline)
        except queue.Empty:
            seconds = PAUSE if pause is None else min(2 * pause.seconds, LONGEST_PAUSE)
            self._paused[plugin, name] = _Pause(thread, seconds, self._clock() + seconds)
            message = "plugin %s: %s exceeded its deadline of %g s; it is not called for %g s"
            log_message(_log, logging.WARNING, message, plugin, name, self._deadline, seconds)
            failure = f"exceeded its deadline of {self._deadline:g} s"
            return Answer(plugin, None, failure, paused=True)
        self._paused.pop((plugin, name), None)
        return None if answer.value is None and not answer.failure else answer


@attrs.frozen
class _Pause:
    """A plugin is not called until the pause ends and the abandoned call has returned."""

    thread: threading.Thread
    seconds: float
    ends: float


def implementations(manager: pluggy.PluginManager, name: str) -> Sequence[pluggy.HookImpl]:
    """Return a hook's implementations in the order in which pluggy calls them."""
    caller: pluggy.HookCaller = getattr(manager.hook, name)
    return tuple(reversed(caller.get_hookimpls()))


def ask(implementation: pluggy.HookImpl, arguments: Mapping[str, object]) -> Answer:
    """Call one implementation with the arguments that it takes; never raises."""
    function: Callable[..., Any] = implementation.function
    taken = {
        name: arguments[name]
        for name in (*implementation.argnames, *implementation.kwargnames)
        if name in arguments
    }
    try:
        value = function(**taken)
    except BaseException as error:  # noqa: BLE001 -- SystemExit of a plugin must not end the host
        return Answer(implementation.plugin_name, None, describe_any_error(error))
    if type(value) is types.CoroutineType:  # isinstance would call a proxy
        value.close()
        return Answer(implementation.plugin_name, None, "returned a coroutine, which is not run")
    return Answer(implementation.plugin_name, value)


@attrs.frozen
class Attempt:
    """The result of an attempt, and whether the provider may have the message."""

    outcome: Outcome
    may_have_arrived: bool

    @classmethod
    def impossible(cls, ref: IncidentRef) -> Attempt:
        """Return the result of an attempt without its action or installation."""
        gone = f"the action {ref.action} or the installation {ref.installation} is gone"
        return cls(Outcome(OutcomeKind.MISCONFIGURED, gone), may_have_arrived=False)


def make_attempt(
    action: AnyAction, delivery: Delivery, installation: Installation[Any], context: SendContext
) -> Attempt:
    """Make one attempt to send; raises only `KeyboardInterrupt`.

    An action without idempotent repeats returns *uncertain* if it does not know whether the
    message arrived; its *unreachable* means not sent, and the next try must open the incident.
    """
    idempotent = action.capabilities.idempotent
    # the outcome of an attempt that failed in the action, at an unknown point
    broken = OutcomeKind.FAULTED if idempotent else OutcomeKind.UNCERTAIN
    try:
        returned: object = action.send(delivery, installation, context)
    except BaseException as error:  # noqa: BLE001 -- SystemExit of a plugin must not end the host
        outcome = Outcome(broken, f"the action {action.name} {describe_error(error)}")
    else:
        if isinstance(returned, Outcome) and isinstance(returned.kind, OutcomeKind):
            outcome = returned
        else:
            outcome = Outcome(broken, f"the action {action.name} returned no outcome")
    if idempotent:
        return Attempt(outcome, outcome.kind.may_have_arrived)
    arrived = outcome.kind in (OutcomeKind.DELIVERED, OutcomeKind.UNCERTAIN)
    return Attempt(outcome, arrived)


def can_follow_up(action: AnyAction, incident: Incident, installation: Installation[Any]) -> bool:
    """Ask the action whether it can still follow up on an incident; True if the action fails."""
    try:
        return as_durable(action).can_follow_up(incident, installation)
    except BaseException as error:  # noqa: BLE001 -- an attempt will show it
        _log.error("the action %s %s", action.name, describe_error(error))
        return True
