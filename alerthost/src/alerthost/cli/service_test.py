"""``alerthost test``: opens an incident at one service, acknowledges and closes it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final, Self

import attrs

from alerthost.cli.screen import Screen, columns, printable
from alerthost.config.configuration import Configuration
from alerthost.config.destinations import NoDestinationsError, destinations_of
from hostspec.action import AnyAction
from hostspec.alert import Alert, Severity, Status
from hostspec.delivery import (
    Delivery,
    Incident,
    Operation,
    Outcome,
    OutcomeKind,
    Receipt,
    Suppression,
)
from hostspec.inprocess.host import Host
from hostspec.plugins import Rule, RuleAction
from hostspec.provider import Destination, Installation
from hostspec.text import unknown_name

PAUSES: Final = (1.0, 5.0, 20.0)
"""Seconds before each further try to close what was opened."""

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Those that a person, a supervisor and a closed terminal send; Windows has no third."""

_WIDTHS: Final = (13, 11, 16)
_INTERRUPTED: Final = b"interrupted: what was opened is closed first; again to give up\n"


class CannotTestError(Exception):
    """There is no such service, or no action that can be aimed at it; the message says which."""


@attrs.frozen
class Aim:
    """What is tested.

    Attributes:
        name: of account and service, as people call them.
        action: the one that is tested.
        installation: the account.
        settings: the action's, aimed at the service alone.
    """

    name: str
    action: AnyAction
    installation: Installation[Any]
    settings: Any


def aim(loaded: Configuration, named: str) -> Aim:
    """Find what a person names as ``ACCOUNT/SERVICE``, or ``ACCOUNT`` where it has one service.

    Raises:
        CannotTestError: there is none, or it cannot be tested.
    """
    services: dict[str, tuple[Installation[Any], Destination]] = {}
    below: dict[str, list[str]] = {}
    for installation in loaded.installations:
        provider = loaded.plugins.providers[installation.provider]
        below[installation.name] = []
        try:
            destinations = destinations_of(provider, installation)
        except NoDestinationsError as error:
            if named.startswith(f"{installation.name}/") or named == installation.name:
                raise CannotTestError(str(error)) from None
            continue
        for destination in destinations:
            name = f"{installation.name}/{destination.name}"
            services[name] = (installation, destination)
            below[installation.name].append(name)
    name = named
    if named not in services and named in below:
        if len(below[named]) != 1:
            several = ", ".join(below[named]) or "there is none"
            message = f"say which service of {named!r}: {several}"
            raise CannotTestError(message)
        [name] = below[named]
    if name not in services:
        raise CannotTestError(unknown_name(named, services))
    installation, destination = services[name]
    aimed = [
        Aim(name, action, installation, settings)
        for _, action in sorted(loaded.plugins.actions.items())
        if action.provider == installation.provider
        and (settings := action.settings_for(destination)) is not None
    ]
    if not aimed:
        message = f"{installation.provider} cannot be tested: no action aims at one service alone"
        raise CannotTestError(message)
    # one that closes what it opens leaves nothing behind
    return max(aimed, key=lambda each: each.action.capabilities.resolve)


class Trial:
    """Sends a marked alert to one service, acknowledges it and closes it, whatever happens.

    Args:
        loaded: the configuration.
        aimed: what is tested.
        screen: where each step is shown.
    """

    def __init__(self, loaded: Configuration, aimed: Aim, screen: Screen) -> None:
        self._aim = aimed
        self._screen = screen
        self._key = f"alerthost-test/{secrets.token_hex(8)}"
        use = RuleAction(aimed.action, aimed.installation, aimed.settings)
        # follow-ups go to what was opened, and nowhere else
        rule = Rule("alerthost test", [use], lambda alert: alert.status is Status.FIRING)
        self._host = Host(loaded.plugins, [rule])
        self._outcomes: dict[Operation, Outcome] = {}

    def run(self) -> bool:
        """Run the test; say whether all of it went well."""
        self._screen.say(printable(f"Test of {self._aim.name} under the key {self._key}"), "bold")
        opened = False
        with _Signals() as signals:
            try:
                self._open(signals)
                opened = bool(self._held)
                if opened and not signals.count:
                    with signals.breaking_off(at=1):
                        self._step(Status.ACKNOWLEDGED)
            finally:
                with signals.breaking_off(at=2):
                    self._close()
        return self._conclude(opened=opened, interrupted=signals.count > 0)

    @property
    def _held(self) -> tuple[Incident, ...]:
        return self._host.held_by(self._alert(Status.RESOLVED).identity)

    @property
    def _was_opened(self) -> bool:
        opening = self._outcomes.get(Operation.TRIGGER)
        return opening is not None and opening.delivered

    def _alert(self, status: Status) -> Alert:
        return Alert(
            self._key,
            f"Test of {self._aim.name} by alerthost; no action needed",
            status=status,
            severity=Severity.INFO,
            source="alerthost",
            details={"test": "Sent by alerthost test, which closes it at once."},
        )

    def _open(self, signals: _Signals) -> None:
        plan = self._host.plan(self._alert(Status.FIRING))
        finished = False
        with signals.breaking_off(at=2):
            self._step(Status.FIRING)
            finished = True
        if not finished:
            # nobody knows how far it came
            self._host.assume(plan)

    def _close(self) -> None:
        """Resolve, several times if need be."""
        for pause in (0.0, *PAUSES):
            time.sleep(pause)
            if not self._held or not self._step(Status.RESOLVED):
                return

    def _step(self, status: Status) -> tuple[Receipt, ...]:
        """Send one statement, and show what came of it."""
        started = time.monotonic()
        report = self._host.handle(self._alert(status))
        took = f"{time.monotonic() - started:.2f} s"
        for failure in report.plan.failures:
            self._screen.complain(printable(str(failure)))
        for suppression in report.plan.suppressions:
            told = f"suppressed at {suppression.installation}: {suppression.reason}"
            self._screen.complain(printable(told), "yellow")
            self._show_notes(suppression)
        for receipt in report.receipts:
            self._show(receipt, took)
        return report.receipts

    def _show(self, receipt: Receipt, took: str) -> None:
        delivery = receipt.delivery
        outcome = receipt.outcome or Outcome(OutcomeKind.UNCERTAIN)
        self._outcomes[delivery.operation] = outcome
        where = printable(self._host.name_of(delivery.ref))
        reason = () if outcome.delivered else (printable(outcome.reason),)
        cells = (str(outcome.kind), str(delivery.operation), where, took, *reason)
        self._screen.say(columns(cells, _WIDTHS), "green" if outcome.delivered else "red")
        self._show_notes(delivery)

    def _show_notes(self, planned: Delivery | Suppression) -> None:
        for note in planned.notes:
            self._screen.note(note)

    def _conclude(self, *, opened: bool, interrupted: bool) -> bool:
        """Say in the end how things stand; give whether all is well."""
        name = self._aim.name
        for incident in self._held:
            where = self._host.name_of(incident.ref)
            how = "STILL OPEN" if self._was_opened else "PERHAPS STILL OPEN"
            told = f"{how} at {where}: {incident.ref.correlation_key}; close it there"
            self._screen.complain(printable(told), "bold red")
        if self._held:
            return False
        if not opened:
            self._screen.complain(printable(f"Nothing was opened at {name}."))
            return False
        return self._conclude_closed(interrupted=interrupted)

    def _conclude_closed(self, *, interrupted: bool) -> bool:
        name, outcomes = self._aim.name, self._outcomes
        if Operation.RESOLVE not in outcomes:
            told = f"Nothing closes it: {self._aim.action.name} has no resolve."
            self._screen.complain(printable(f"{told} Look after {self._key} yourself."), "yellow")
        elif not self._was_opened:
            told = f"No answer to the trigger: if it comes late, {self._key} is open at {name}."
            self._screen.complain(printable(told), "bold red")
        if interrupted:
            self._screen.complain("Interrupted before the end.")
        well = not interrupted and all(outcome.delivered for outcome in outcomes.values())
        if well:
            *first, last = (_DONE[each] for each in outcomes)
            done = f"{', '.join(first)} and {last}" if first else last
            self._screen.say(printable(f"Test OK at {name}: {done}."), "bold")
            self._screen.say("Whether that called anyone, the service's settings decide.", "dim")
        return well


_DONE: Final = {
    Operation.TRIGGER: "opened",
    Operation.ACKNOWLEDGE: "acknowledged",
    Operation.RESOLVE: "closed",
    Operation.UPDATE: "updated",
}


class _Signals:
    """Counts the signals that would end the process, and says what they break off meanwhile."""

    def __init__(self) -> None:
        self.count = 0
        self._at = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {each: signal.signal(each, self._take) for each in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    @contextlib.contextmanager
    def breaking_off(self, *, at: int) -> Iterator[None]:
        """Break the block off, and go on after it, as soon as so many signals have come."""
        with contextlib.suppress(KeyboardInterrupt):
            self._at = at
            try:
                yield
            finally:
                self._at = 0

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count == 1:
            # a stream may be in the middle of a line, and is not to be entered twice
            with contextlib.suppress(OSError):
                os.write(2, _INTERRUPTED)
        if self._at and self.count >= self._at:
            raise KeyboardInterrupt
