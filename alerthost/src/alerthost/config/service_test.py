"""The test of one service: opens a marked incident, acknowledges it, and closes it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from alerthost.config.plugins import action_for
from hostspec.action import AnyAction
from hostspec.alert import Alert, Severity, Status
from hostspec.delivery import Incident, Operation, Outcome, OutcomeKind
from hostspec.inprocess.host import Host
from hostspec.inprocess.sending import Report
from hostspec.plugins import Rule, RuleAction
from hostspec.plugins.registry import Plugins
from hostspec.provider import Destination, Installation


@attrs.frozen
class Target:
    """The service that is tested, with an action and its settings for this service alone."""

    name: str
    action: AnyAction
    installation: Installation[Any]
    settings: Any


def target_of(
    plugins: Plugins, installation: Installation[Any], destination: Destination
) -> Target | None:
    """Return the target of a test; None if no action can be limited to one service."""
    found = action_for(plugins, installation, destination)
    if found is None:
        return None
    return Target(f"{installation.name}/{destination.name}", found[0], installation, found[1])


@attrs.frozen
class Step:
    """One message of a test.

    Attributes:
        seconds: that it took.
    """

    report: Report
    seconds: float


class ServiceTest:
    """A test of one service, step by step; nothing is kept in a store.

    Args:
        sender: the program or page that tests, for the details of the incident.

    Attributes:
        key: of its alert.
        host: plans and sends.
        outcomes: the last one of each operation.
    """

    def __init__(self, plugins: Plugins, target: Target, sender: str) -> None:
        self.key = f"alerthost-test/{secrets.token_hex(8)}"
        self.outcomes: dict[Operation, Outcome] = {}
        self._target = target
        self._sender = sender
        use = RuleAction(target.action, target.installation, target.settings)
        # follow-ups are planned from the open incident alone
        rule = Rule("alerthost test", [use], lambda alert: alert.status is Status.FIRING)
        self.host = Host(plugins, [rule])

    @property
    def held(self) -> tuple[Incident, ...]:
        """The incidents that are open, as far as is known."""
        return self.host.held_by(self.alert(Status.RESOLVED).identity)

    @property
    def was_opened(self) -> bool:
        """Whether the provider accepted the trigger."""
        opening = self.outcomes.get(Operation.TRIGGER)
        return opening is not None and opening.delivered

    @property
    def success(self) -> bool:
        """Whether the provider accepted every message, and nothing is left open."""
        delivered = all(each.delivered for each in self.outcomes.values())
        return self.was_opened and delivered and not self.held

    def alert(self, status: Status) -> Alert:
        """Return the alert of the test."""
        return Alert(
            self.key,
            f"Test of {self._target.name} by alerthost; no action needed",
            status=status,
            severity=Severity.INFO,
            source="alerthost",
            details={"test": f"Sent by {self._sender}, which closes it at once."},
        )

    def send(self, status: Status) -> Step:
        """Send the alert in a status."""
        started = time.monotonic()
        report = self.host.handle(self.alert(status))
        for each in report.receipts:
            outcome = each.outcome or Outcome(OutcomeKind.UNCERTAIN)
            self.outcomes[each.delivery.operation] = outcome
        return Step(report, time.monotonic() - started)

    def close(self, pauses: Sequence[float]) -> Iterator[Step]:
        """Resolve the incident; again after each pause, in seconds, while it is open."""
        for pause in (0.0, *pauses):
            time.sleep(pause)
            if not self.held:
                return
            step = self.send(Status.RESOLVED)
            yield step
            if not step.report.receipts:
                return

    def run(self, pauses: Sequence[float]) -> Iterator[Step]:
        """Send all messages, and close the incident with further attempts."""
        yield self.send(Status.FIRING)
        if self.held:
            yield self.send(Status.ACKNOWLEDGED)
        yield from self.close(pauses)
