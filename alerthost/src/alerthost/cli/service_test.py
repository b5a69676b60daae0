"""``alerthost test``: opens an incident at one service, acknowledges it, and closes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from alerthost.cli.options import command, with_config
from alerthost.cli.output import Screen
from alerthost.cli.session import Interrupts
from alerthost.config import configuration
from alerthost.config.configuration import Configuration
from alerthost.config.document import ConfigFile
from alerthost.config.plugins import NoDestinationsError, destinations_of
from alerthost.config.service_test import ServiceTest, Step, Target, target_of
from hostspec.alert import Status
from hostspec.delivery import (
    Delivery,
    Operation,
    Outcome,
    OutcomeKind,
    Receipt,
    Suppression,
)
from hostspec.provider import Destination, Installation
from hostspec.text import unknown_name

PAUSES: Final = (1.0, 5.0, 20.0)
"""Seconds before each further attempt to close the incident."""

_WIDTHS: Final = (13, 11, 16)
_INTERRUPTED: Final = b"interrupted: closing the incident first; interrupt again to abort\n"
_DONE: Final = {
    Operation.TRIGGER: "opened",
    Operation.ACKNOWLEDGE: "acknowledged",
    Operation.RESOLVE: "closed",
    Operation.UPDATE: "updated",
}


@command("Open an incident at one service, and close it.", example="alerthost test acme/checkout")
@with_config
@click.argument("service", metavar="ACCOUNT/SERVICE")
def test(path: Path, service: str) -> None:
    """Test one service: open a marked incident, acknowledge it, and close it.

    ACCOUNT alone is enough if it has one service. The incident is closed even if the test fails
    or is interrupted. Exit codes: 0 if all went well, 1 if not, 2 for a configuration error or
    an unknown service; then nothing is sent.
    """
    loaded = configuration.load(ConfigFile.read(path))
    target = find_target(loaded, service)
    screen = Screen()
    screen.exit(success=Trial(loaded, target, screen).run())


def find_target(loaded: Configuration, named: str) -> Target:
    """Find the service ``ACCOUNT/SERVICE``, or the only service of ``ACCOUNT``.

    Raises:
        UsageError: there is no such service, or it cannot be tested.
    """
    account = named.partition("/")[0]
    services: dict[str, tuple[Installation[Any], Destination]] = {}
    for installation in loaded.installations:
        provider = loaded.plugins.providers[installation.provider]
        try:
            for each in destinations_of(provider, installation):
                services[f"{installation.name}/{each.name}"] = (installation, each)
        except NoDestinationsError as error:
            if installation.name == account:
                raise click.UsageError(str(error)) from None
    if named in [each.name for each in loaded.installations]:
        below = [name for name in services if name.startswith(f"{named}/")]
        if len(below) != 1:
            names = f"choose a service of {named!r}: {', '.join(below)}"
            raise click.UsageError(names if below else f"{named!r} has no service")
        [named] = below
    if named not in services:
        raise click.UsageError(unknown_name(named, services))
    installation, destination = services[named]
    target = target_of(loaded.plugins, installation, destination)
    if target is None:
        message = (
            f"{installation.provider} cannot be tested: no action can be limited to one service"
        )
        raise click.UsageError(message)
    return target


class Trial:
    """Tests a service, and closes the incident even if a step fails or is interrupted."""

    def __init__(self, loaded: Configuration, target: Target, screen: Screen) -> None:
        self._target = target
        self._screen = screen
        self._test = ServiceTest(loaded.plugins, target, "alerthost test")

    def run(self) -> bool:
        """Run the test; return whether all steps succeeded."""
        self._screen.print(f"Test of {self._target.name} under the key {self._test.key}", "bold")
        opened = False
        with Interrupts(limit=0, message=_INTERRUPTED) as signals:
            try:
                self._open(signals)
                opened = bool(self._test.held)
                if opened and not signals.count:
                    with signals.breakable(at=1):
                        self._show_step(self._test.send(Status.ACKNOWLEDGED))
            finally:
                with signals.breakable(at=2):
                    for step in self._test.close(PAUSES):
                        self._show_step(step)
        return self._conclude(opened=opened, interrupted=signals.count > 0)

    def _open(self, signals: Interrupts) -> None:
        plan = self._test.host.plan(self._test.alert(Status.FIRING))
        finished = False
        with signals.breakable(at=2):
            self._show_step(self._test.send(Status.FIRING))
            finished = True
        if not finished:
            # the incident may have been opened: assume so
            self._test.host.assume(plan)

    def _show_step(self, step: Step) -> None:
        plan = step.report.plan
        for failure in plan.failures:
            self._screen.print_error(str(failure))
        for suppression in plan.suppressions:
            self._screen.warn(f"suppressed at {suppression.installation}: {suppression.reason}")
            self._show_notes(suppression)
        for receipt in step.report.receipts:
            self._show(receipt, f"{step.seconds:.2f} s")

    def _show(self, receipt: Receipt, took: str) -> None:
        delivery = receipt.delivery
        outcome = receipt.outcome or Outcome(OutcomeKind.UNCERTAIN)
        where = self._test.host.name_of(delivery.ref)
        reason = "" if outcome.delivered else outcome.reason
        cells = (str(outcome.kind), str(delivery.operation), where, took, reason)
        self._screen.row(cells, _WIDTHS, "green" if outcome.delivered else "red")
        self._show_notes(delivery)

    def _show_notes(self, planned: Delivery | Suppression) -> None:
        for note in planned.notes:
            self._screen.note(note)

    def _conclude(self, *, opened: bool, interrupted: bool) -> bool:
        """Print the result; return whether all steps succeeded."""
        screen, name, test = self._screen, self._target.name, self._test
        outcomes = test.outcomes
        for incident in test.held:
            where = test.host.name_of(incident.ref)
            state = "STILL OPEN" if test.was_opened else "POSSIBLY STILL OPEN"
            key = incident.ref.correlation_key
            screen.print_error(f"{state} at {where}: {key}; close it there", "bold red")
        if test.held:
            return False
        if not opened:
            screen.print_error(f"No incident was opened at {name}.")
            return False
        if Operation.RESOLVE not in outcomes:
            action = self._target.action.name
            screen.warn(f"{action} cannot resolve: close {test.key} at the provider.")
        elif not test.was_opened:
            screen.print_error(
                f"The trigger was not answered: if it arrives late, {test.key} opens at {name}.",
                "bold red",
            )
        if interrupted:
            screen.print_error("The test was interrupted.")
        success = not interrupted and test.success
        if success:
            *first, last = (_DONE[each] for each in outcomes)
            done = f"{', '.join(first)} and {last}" if first else last
            screen.print(f"Test OK at {name}: {done}.", "bold")
            screen.print("The service's settings decide whether this notified anyone.", "dim")
        return success
